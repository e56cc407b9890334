"""One request for everything that ``ckptkit validate`` does, and one answer. Nothing is printed.

The command line parses into a :class:`Request` and renders a :class:`Validation`; :func:`ckptkit.validate` and
:func:`ckptkit.fix` make and give the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ckptkit.checks.level import Level, default_level
from ckptkit.checks.registry import refuse_unknown, select
from ckptkit.checks.runner import Report, Selection, read_context, run, select_findings
from ckptkit.checks.settings import PROJECT_KEYS, Layer, Settings, checked, combine, load_layers
from ckptkit.engines.registry import by_name
from ckptkit.errors import UsageError
from ckptkit.record import record
from ckptkit.storage.locate import PathLike, new_folder, open_files, source_of
from ckptkit.storage.source import LocalSource
from ckptkit.storage.traffic import OnBytes, nobody_counts

# What only some requests need is imported for them: half of a quick command's time would be imports.
if TYPE_CHECKING:
    from ckptkit.checks.context import Context
    from ckptkit.checks.finding import Finding
    from ckptkit.checks.fixing import Fixes
    from ckptkit.checks.registry import Safety
    from ckptkit.storage.container import Container
    from ckptkit.views.matrix import Matrix
    from ckptkit.views.skip_table import SkipTable

#: Words, or one text with commas between them; None where nothing is asked for.
Words: TypeAlias = "str | Iterable[str] | None"
#: Whole numbers above zero, or one text with commas between them.
Sizes: TypeAlias = "str | Iterable[int] | None"

#: The fields of a request that settings files have too, and what checks their values.
_SETTINGS = {name: (name, check) for name, check in PROJECT_KEYS.values() if name != "output_format"}


@record
class Request:
    """What to check of one checkpoint, and what to make of it: the options of ``ckptkit validate``.

    * ``level``: "headers", "scales" or "full"; without it, scales for a folder and headers for anything remote.
    * ``select``, ``ignore``, ``extend_select``: rules by prefix (CK3), code, family or name, or ALL.
    * ``engines`` (``--for``): only what hits these, and an error for what they do not serve for other reasons than
      rules give.
    * ``fix``: write what is safe, in place or into the new folder ``output``; with ``unsafe_fixes`` judgement calls
      too. ``diff``: what ``fix`` would write; nothing is written.
    * ``matrix``: what each engine makes of the checkpoint; ``tensor_parallel`` (``--tp``): at these sizes; ``gpu``: on
      this hardware.
    * ``skip_list``: what each engine's matcher decides for each module.
    * ``expect``: the folder that a repository on the Hub must serve.
    * ``isolated``: read no settings files; without it they count, and are weaker than what is given here.
    * ``offers``: say for each finding whether there is a fix.

    Raises UsageError for values of the wrong kind, and for options of which one would do nothing.
    """

    level: Level | str | None = None
    select: Words = None
    ignore: Words = None
    extend_select: Words = None
    engines: Words = None
    unsafe_fixes: bool = False
    tensor_parallel: Sizes = None
    gpu: str | None = None
    fix: bool = False
    diff: bool = False
    output: PathLike | None = None
    matrix: bool = False
    skip_list: bool = False
    expect: PathLike | None = None
    isolated: bool = True
    offers: bool = False
    layer: Layer = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.output is not None and not self.fix:
            raise UsageError("an output goes with a fix, and with one checkpoint")
        if self.fix and self.diff:
            raise UsageError("a fix writes and a diff does not: give one of them")
        asked = {name: getattr(self, name) for name in _SETTINGS}
        if isinstance(self.level, Level):
            asked["level"] = self.level.name.lower()
        values = {name: value for name, value in asked.items() if value is not None and value is not False}
        object.__setattr__(self, "layer", Layer("", checked(values, "", _SETTINGS)))

    def scope(self, path: PathLike | None = None) -> Scope:
        """The settings for a checkpoint, or without one those that hold for all. Raises UsageError."""
        folder = Path(path) if path is not None and os.path.isdir(path) else None
        return Scope.of((*(() if self.isolated else load_layers(folder)), self.layer))


@record(repr=False)
class Validation(Report):
    """The report of one checkpoint, with what else a :class:`Request` asked for.

    With fixes the findings are those that are left; ``destination`` is where the fixed checkpoint is, or would be.
    ``settings`` are those that held, and ``offers`` the findings for which there is a fix.
    """

    settings: Settings = field(default_factory=Settings)
    matrix: Matrix | None = None
    skip_table: SkipTable | None = None
    fixes: Fixes | None = None
    destination: str = ""
    written: bool = False
    offers: Mapping[Finding, Safety] = field(default_factory=dict)

    @property
    def pending(self) -> bool:
        """Whether there are fixes that were found and not written."""
        return self.fixes is not None and self.fixes.changes and not self.written

    def to_json(self) -> dict[str, Any]:
        """Everything, as described by ``schemas/report.json``."""
        document = super().to_json()
        if self.settings.files:
            document["settings"] = {"files": list(self.settings.files), "hidden": self.hidden}
        if self.fixes is not None:
            written = {"destination": self.destination, "written": self.written}
            document["fixes"] = {**written, **self.fixes.to_json()}
        if self.matrix is not None:
            document["matrix"] = self.matrix.to_json()
        if self.skip_table is not None:
            document["skip_lists"] = self.skip_table.to_json()
        return document


@record
class Scope:
    """The settings of one checkpoint, and what they would be without the file that came with it."""

    settings: Settings
    trusted: Settings

    @classmethod
    def of(cls, layers: Iterable[Layer]) -> Scope:
        """From layers, the weaker first. Raises UsageError for a rule or an engine that does not exist."""
        known = tuple(layers)
        for layer in known:
            _refuse_unknown_words(layer)
        return cls(combine(known), combine(layer for layer in known if not layer.own))

    def level(self, default: Level) -> Level:
        """How much is read. The checkpoint's own file can ask for more than is asked for without it, not for less."""
        return max(Level.parse(s.level) if s.level else default for s in (self.trusted, self.settings))


def selection(settings: Settings) -> Selection:
    """The rules and engines that settings ask for."""
    rules = select((*settings.select, *settings.extend_select), settings.ignore)
    return Selection(rules, frozenset(by_name(name).name for name in settings.engines) or None)


def _refuse_unknown_words(layer: Layer) -> None:
    """Refuse a rule or an engine that does not exist, with the file that names it."""
    where = f"{layer.origin}: " if layer.origin else ""
    try:
        for key in ("select", "extend_select", "ignore"):
            refuse_unknown(layer.values.get(key, ()))
        for name in layer.values.get("engines", ()):
            by_name(name)
    except UsageError as error:
        raise UsageError(f"{where}{error.message}", help=error.help) from None


def validate(
    path: PathLike,
    request: Request,
    on_finished: Callable[[int], None] = lambda moved: None,
    on_scan: OnBytes = nobody_counts,
    on_write: OnBytes = nobody_counts,
) -> Validation:
    """Look at one checkpoint, and fix it if that is asked for.

    ``on_finished`` is called before anything else with the number of files that an interrupted fix had left to move
    into place, ``on_scan`` with the bytes of each weight that was scanned and of all of them, ``on_write`` with those
    of a fixed checkpoint that were written and all of them. Damage is reported as findings.

    Raises UsageError and ContainerError when there is nothing to look at, OutputError when fixes cannot be
    written; the checkpoint is then as it was.
    """
    return examine(path, request, on_finished, on_scan, on_write)[1]


def examine(
    path: PathLike,
    request: Request,
    on_finished: Callable[[int], None] = lambda moved: None,
    on_scan: OnBytes = nobody_counts,
    on_write: OnBytes = nobody_counts,
) -> tuple[Context, Validation]:
    """What :func:`validate` says of a checkpoint, and what was read of it to say so."""
    scope = request.scope(path)
    settings = scope.settings
    wanted = selection(settings)
    trusted = wanted if scope.trusted == settings else selection(scope.trusted)
    if not trusted.rules:
        raise UsageError("no rule is left to check: all that are selected are ignored")
    if request.fix and request.output is None:
        on_finished(finish_interrupted_fix(path))
    container = open_files(path)
    level = scope.level(default_level(container.source))
    fixes, destination, written = None, os.fspath(path), False
    if request.fix or request.diff:
        fixes = _fixes(container, level, settings, wanted)
        destination = destination if request.output is None else os.fspath(request.output)
        if request.fix:
            written = write_fixes(fixes, path, request.output, on_write)
        if fixes.changes:
            container = open_files(destination) if written else fixes.workspace.reopened()
    context = replace(read_context(container), on_scan=on_scan)
    asked = (wanted.engines or frozenset()) | (trusted.engines or frozenset())
    report = run(context, level, dict.fromkeys((*wanted.rules, *trusted.rules)), asked)
    matrix = skip_table = None
    shown = request.matrix or bool(settings.tensor_parallel or settings.gpu)
    told = trusted.engines is not None and scope.trusted.select == Settings().select  # not of a choice of rules
    if shown or told:
        from ckptkit.engines.gpus import by_name as gpu_by_name
        from ckptkit.views.matrix import build_matrix

        gpu = None if settings.gpu is None else gpu_by_name(settings.gpu)
        matrix = build_matrix(context, report, settings.tensor_parallel, gpu=gpu, engines=trusted.engines)
    report = select_findings(report, wanted, trusted)
    if matrix is not None and told:
        from ckptkit.views.refusals import with_refusals

        report = with_refusals(report, matrix)
    if request.expect is not None:
        from ckptkit.hub.expect import with_differences

        report = with_differences(report, container, Path(request.expect))
    if request.skip_list:
        from ckptkit.views.skip_table import skip_views

        skip_table = skip_views(context).of(trusted.engines)
    offers: Mapping[Finding, Safety] = {}
    if request.offers:
        from ckptkit.checks.offers import offers as offers_for

        offers = offers_for(context, report.findings)
    found = {item.name: getattr(report, item.name) for item in fields(Report)}
    return context, Validation(
        **found,
        settings=settings,
        matrix=matrix if shown else None,
        skip_table=skip_table,
        fixes=fixes,
        destination=destination,
        written=written,
        offers=offers,
    )


def _fixes(container: Container, level: Level, settings: Settings, wanted: Selection) -> Fixes:
    from ckptkit.checks.fixing import find_fixes

    # Notes are fixed only for who asks for their rules: a clean checkpoint is not rewritten.
    notes = settings.select != Settings().select or bool(settings.extend_select)
    return find_fixes(
        container, level, unsafe=settings.unsafe_fixes, rules=wanted.rules, engines=wanted.engines, notes=notes
    )


def write_fixes(
    fixes: Fixes, path: PathLike, output: PathLike | None = None, on_write: OnBytes = nobody_counts
) -> bool:
    """Write what :func:`ckptkit.checks.fixing.find_fixes` found; whether there was anything to write.

    With ``output`` into a new folder, which appears complete or not at all; else in place, where only the files that
    differ are replaced. Raises OutputError; UsageError when what is not a folder would have to be changed in place.
    """
    from ckptkit.conversion.apply_fixes import write_copy, write_in_place

    source = source_of(path)
    if output is not None:
        write_copy(fixes, source, new_folder(output), on_write=on_write)
        return True
    if not fixes.changes:
        return False
    if not isinstance(source, LocalSource):
        raise UsageError(f"{source.label} is not a local folder", help="give a new folder as the output")
    write_in_place(fixes, source, source.root, on_write=on_write)
    return True


def finish_interrupted_fix(path: PathLike) -> int:
    """Finish what an interrupted :func:`write_fixes` left beside a folder; how many files were moved into place."""
    from ckptkit.storage.replace import finish_interrupted

    return finish_interrupted(Path(path)) if os.path.isdir(path) else 0
