"""A user's table: reading it, the parts its columns play, and its features as numbers.

Importing this package imports pandas.
"""

from holdfast.tables.codes import Codes, encode_column
from holdfast.tables.encoder import Encoder, fit_encoder
from holdfast.tables.parse import parse_numbers
from holdfast.tables.read import read_table, read_with_notes
from holdfast.tables.roles import ColumnRoles, check_roles, feature_columns, infer_kind
from holdfast.tables.tokens import TokenEncoder, text_column

__all__ = [
    "Codes",
    "ColumnRoles",
    "Encoder",
    "TokenEncoder",
    "check_roles",
    "encode_column",
    "feature_columns",
    "fit_encoder",
    "infer_kind",
    "parse_numbers",
    "read_table",
    "read_with_notes",
    "text_column",
]
