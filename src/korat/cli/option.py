"""The options that several verbs share, under calicoctl's names."""

from typing import Annotated

import typer

Files = Annotated[
    list[str],
    typer.Option(
        "-f",
        "--filename",
        metavar="FILE",
        help="A YAML or JSON file, a folder of them, or - for standard input; may be repeated.",
    ),
]
PolicyFiles = Annotated[
    list[str],
    typer.Option(
        "-f",
        "--filename",
        metavar="FILE",
        help="Judge the objects of these files and folders alone, without a datastore.",
    ),
]
Output = Annotated[
    str, typer.Option("-o", "--output", metavar="FORMAT", help="For scripts: json or yaml.")
]
Recursive = Annotated[
    bool, typer.Option("-R", "--recursive", help="Look into the folders of a folder too.")
]
SkipEmpty = Annotated[
    bool, typer.Option("--skip-empty", help="Do not complain about a file without objects.")
]
Namespace = Annotated[
    str,
    typer.Option("-n", "--namespace", metavar="NS", help="For objects that name no namespace."),
]
Config = Annotated[
    str,
    typer.Option(
        "-c",
        "--config",
        metavar="FILE",
        help="Where the store is; Calico's file, by default /etc/calico/calicoctl.cfg.",
    ),
]
KindWord = Annotated[str, typer.Argument(metavar="KIND", help="networkpolicy, np, pods, ...")]
Name = Annotated[str, typer.Argument(metavar="NAME")]
