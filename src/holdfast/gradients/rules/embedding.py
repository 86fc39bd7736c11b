"""Embeddings: only the entries that an environment looks up have a gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from holdfast.gradients.accumulator import Accumulator
from holdfast.gradients.grouping import Chunk, Grouping
from holdfast.gradients.rules.base import LayerGradient, Rule, Workspace


class EmbeddingRule(Rule):
    """g_e: for each entry, the sum of δ where a row of e looks it up."""

    def supports(self, layer: nn.Module) -> bool:
        embedding = cast(nn.Embedding, layer)
        return not embedding.scale_grad_by_freq and embedding.max_norm is None

    def blocks(self, gradient: LayerGradient, chunk: Chunk, workspace: Workspace) -> Mapping[str, Tensor]:
        outputs = chunk.take_gradients(gradient.outputs)
        entries = chunk.take(gradient.inputs)
        table = cast(nn.Embedding, gradient.layer)
        environment = torch.arange(len(entries), device=entries.device).view(-1, *(1,) * (entries.ndim - 1))
        cells = environment * table.num_embeddings + entries
        block = workspace.take("embedding", (len(entries) * table.num_embeddings, table.embedding_dim), outputs).zero_()
        kept = _counted(table, entries)
        block.index_add_(0, cells[kept], outputs[kept])
        return {"weight": block.view(len(entries), *table.weight.shape)}

    def shortcut(self, gradient: LayerGradient, grouping: Grouping, sums: Mapping[str, Accumulator]) -> bool:
        """Sum over the pairs of environment and entry that occur, not over the whole table."""
        table = cast(nn.Embedding, gradient.layer)
        entries, outputs = gradient.inputs, gradient.outputs
        environment = grouping.environment.view(-1, *(1,) * (entries.ndim - 1))
        kept = _counted(table, entries)
        pairs, which = torch.unique((environment * table.num_embeddings + entries)[kept], return_inverse=True)
        of_pairs = outputs.new_zeros(len(pairs), table.embedding_dim).index_add_(0, which, outputs[kept])
        sums["weight"].add_rows(of_pairs, pairs % table.num_embeddings, environments=len(grouping.sizes))
        return True


def _counted(table: nn.Embedding, entries: Tensor) -> Tensor:
    return torch.ones_like(entries, dtype=torch.bool) if table.padding_idx is None else entries != table.padding_idx
