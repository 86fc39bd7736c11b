"""``holdfast completion``: a script that lets a shell complete verbs, options and the names of plug-ins."""

from __future__ import annotations

import argparse

from holdfast.commands.output import print_text
from holdfast.core.registry import plugins

NAMES = {
    "--method": "method",
    "--evaluate": "evaluation",
    "--model": "model",
    "--select": "rule",
    "--augment": "augmentation",
    "--infer-groups": "inference",
}
"""Options whose value is a list of plug-ins, with their family."""

FIRST = {"run": "task", "sweep": "task", "reproduce": "reproduction"}
"""Verbs whose first word is the name of a plug-in, or a file."""

_BASH = """\
# holdfast completion bash: source this, or put it into a file that your shell reads when it starts. Names are those of
# the plug-ins installed when it was printed.
_holdfast() {{
  local cur="${{COMP_WORDS[COMP_CWORD]}}" prev="${{COMP_WORDS[COMP_CWORD-1]}}" verb="${{COMP_WORDS[1]}}"
  local words="" head=""
  [[ $cur == : || $prev == : ]] && return
  if (( COMP_CWORD == 1 )); then
    words="{verbs}"
  else
    case "$prev" in
{values}
      *)
        case "$verb" in
{options}
        esac
        if [[ $cur != -* ]]; then
          words=""
          (( COMP_CWORD == 2 )) && case "$verb" in
{first}
          esac
          COMPREPLY=( $(compgen -W "$words" -- "$cur") $(compgen -f -- "$cur") )
          compopt -o filenames 2>/dev/null
          return
        fi ;;
    esac
    if [[ $prev == --* && $cur == *[,+]* ]]; then head="${{cur%[,+]*}}"; head="$head${{cur:${{#head}}:1}}"; fi
  fi
  COMPREPLY=( $(compgen -P "$head" -W "$words" -- "${{cur#"$head"}}") )
}}
complete -o nosort -F _holdfast holdfast
"""

_ZSH = """\
# holdfast completion zsh: source this after compinit.
autoload -U +X bashcompinit && bashcompinit
{bash}"""

_FISH = """\
# holdfast completion fish: put this into ~/.config/fish/completions/holdfast.fish.
complete -c holdfast -n __fish_use_subcommand -f -a "{verbs}"
{lines}
"""


def main(options: argparse.Namespace) -> int:
    """Print the script for a shell."""
    print_text(_script(options.shell).rstrip())
    return 0


def _script(shell: str) -> str:
    verbs = _verbs()
    if shell == "fish":
        return _fish(verbs)
    bash = _BASH.format(
        verbs=" ".join(verbs),
        values="\n".join(f'      {flag}) words="{_known(family)}" ;;' for flag, family in NAMES.items()),
        options="\n".join(f'          {verb}) words="{" ".join(flags)}" ;;' for verb, flags in verbs.items()),
        first="\n".join(f'            {verb}) words="{_known(family)}" ;;' for verb, family in FIRST.items()),
    )
    return bash if shell == "bash" else _ZSH.format(bash=bash)


def _fish(verbs: dict[str, list[str]]) -> str:
    lines = []
    for verb, flags in verbs.items():
        where = f'complete -c holdfast -n "__fish_seen_subcommand_from {verb}"'
        for flag in flags:
            names = f' -x -a "{_known(NAMES[flag])}"' if flag in NAMES else ""
            lines.append(f"{where} -l {flag.removeprefix('--')}{names}")
        if verb in FIRST:
            lines.append(f'{where} -a "{_known(FIRST[verb])}"')
    return _FISH.format(verbs=" ".join(verbs), lines="\n".join(lines))


def _known(family: str) -> str:
    return " ".join(plugins(family))


def _verbs() -> dict[str, list[str]]:
    """Verbs with their long options."""
    from holdfast.cli import build_parser

    parser = build_parser()
    (actions,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return {
        verb: sorted(flag for flag in one._option_string_actions if flag.startswith("--"))
        for verb, one in actions.choices.items()
    }
