"""Every command that writes, as a process: what it finds, its words, and what it leaves undisturbed."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.damage import CT, QUARK, QUARK_SHARDED, REAL, SHARDED, load
from tests.faults.steps import FAST

#: Folder of the home of whoever runs the command; libraries keep their own books there.
HOME = "home"
#: The content of a folder: of each file its bytes and whether it can be executed, of each link where it leads.
State = dict[str, tuple[bool, bytes]]
#: What has a date is compared up to there.
_DATE = b'"installed_at"'


@dataclass(frozen=True)
class Command:
    """A command line in a folder that ``prepare`` has filled; ``@`` in an argument is that folder.

    ``between`` says whether a folder that is neither as it was nor as it will be is sound all the same. ``hub`` asks
    for a Hub on loopback. ``answers`` says that its work is what it shows: what it writes is a cache, and it does
    without.
    """

    name: str
    arguments: tuple[str, ...]
    prepare: Callable[[Path], object]
    between: Callable[[Path], bool] = lambda folder: False
    hub: bool = False
    answers: bool = False

    def words(self, folder: Path) -> list[str]:
        """The arguments in a folder."""
        return [word.replace("@", str(folder)) for word in self.arguments]

    def environment(self, folder: Path, hub: str | None) -> Mapping[str, str]:
        """A home in the folder, and the Hub."""
        settled = {"NO_COLOR": "1", "HF_HUB_DISABLE_XET": "1", "GIT_CONFIG_NOSYSTEM": "1"}
        home = {"HOME": str(folder / HOME), "HF_HOME": str(folder / "hf")}
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
        there = {"HF_ENDPOINT": hub, "HF_TOKEN": "hf_" + "T0PSECRET" * 3} if hub else {}
        return {**kept, **settled, **home, **there}

    @contextmanager
    def hub_for(self, folder: Path) -> Iterator[str | None]:
        """The address of a Hub for one situation, where the command needs one."""
        if not self.hub:
            yield None
            return
        from tests.hub.server import FakeHub

        with FakeHub() as running:
            running.add("org/model", folder / "served" if (folder / "served").exists() else {})
            yield running.endpoint


@contextmanager
def situation(command: Command) -> Iterator[tuple[Path, str | None]]:
    """A fresh folder for a command, and the Hub that it is to talk to."""
    with TemporaryDirectory(dir=FAST, prefix="ckptkit-faults-") as place:
        folder = Path(place) / "folder"
        folder.mkdir()
        (folder / HOME).mkdir()
        command.prepare(folder)
        with command.hub_for(folder) as hub:
            yield folder, hub


def state_of(folder: Path) -> State:
    """What is in a folder, home's own books aside."""
    found: State = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name.startswith((f"{HOME}/.", "hf/")) and "extensions" not in name and "models--" not in name:
            continue
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            found[name] = (False, os.readlink(path).encode())
        elif stat.S_ISREG(mode):
            found[name] = (bool(mode & 0o100), path.read_bytes().partition(_DATE)[0])
    return found


def _copy(fixture: str, name: str) -> Callable[[Path], object]:
    return lambda folder: shutil.copytree(REAL / fixture, folder / name)


def _wrong_names(fixture: str) -> Callable[[Path], object]:
    """A checkpoint whose scales have the names of another format: --fix renames them in every shard and the index."""

    def prepare(folder: Path) -> None:
        checkpoint = load(fixture)
        checkpoint.rename(r"(.*)\.weight_scale", r"\1.weight_scale_inv")
        checkpoint.write(folder / "checkpoint")

    return prepare


def _card(folder: Path) -> None:
    _copy(CT, "model")(folder)
    (folder / "model" / "README.md").write_text("---\nlicense: mit\n---\n# Theirs\n")


def _page(folder: Path) -> None:
    """An older page. One holds the path of its checkpoint, so that is the same in every folder."""
    (folder / "page.html").write_text("an older page")


def _clone(folder: Path) -> None:
    """A clone with a hook of its user's, made by hand: git writes too much."""
    git = folder / "clone" / ".git"
    for inner in ("objects", "refs/heads", "hooks"):
        (git / inner).mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tbare = false\n")
    hook = git / "hooks" / "pre-push"
    hook.write_text("#!/bin/sh\necho the user's own\n")
    hook.chmod(0o755)


def _hook_installed(folder: Path) -> None:
    from ckptkit.hub import hooks

    _clone(folder)
    hooks.install(folder / "clone")


def _registered(folder: Path) -> None:
    """As ``hook hf`` leaves it; the date is not looked at."""
    place = folder / HOME / ".local/share/hf/extensions/hf-ckptkit"
    place.mkdir(parents=True)
    (place / "manifest.json").write_text('{"short_name": "ckptkit"}')
    (place / ".latest_commit").touch()


def _hook_is_active(folder: Path) -> bool:
    """The user's hook is in its place, or ours with the user's behind it; each whole and executable."""
    hooks = folder / "clone" / ".git" / "hooks"
    active = hooks / "pre-push"
    if not (active.exists() and os.access(active, os.X_OK)):
        return False
    text, users = active.read_text(), "#!/bin/sh\necho the user's own\n"
    before = hooks / "pre-push.before-ckptkit"
    return text == users or ("Installed by ckptkit" in text and text.endswith("fi\n") and before.read_text() == users)


def _manifest_is_whole(folder: Path) -> bool:
    import json

    place = folder / HOME / ".local/share/hf/extensions/hf-ckptkit/manifest.json"
    return not place.exists() or json.loads(place.read_text())["short_name"] == "ckptkit"


def _half_changed(folder: Path) -> bool:
    """A checkpoint that every reader refuses until the next --fix."""
    from ckptkit.errors import CkptkitError
    from ckptkit.storage.source import LocalSource

    try:
        LocalSource(folder / "checkpoint")
    except CkptkitError as error:
        return "half changed" in error.message
    return False


def _cache_is_whole(folder: Path) -> bool:
    """Every file in the hub library's cache has the content that its name promises; every link leads to one."""
    import hashlib

    from ckptkit.storage.hub_cache import blob_id

    home = folder / "hf" / "hub"
    blobs = [path for path in home.glob("*/blobs/*") if not path.name.startswith(".")]
    links = [path for path in home.rglob("*") if path.is_symlink()]
    digests = {blob: (blob_id(blob.read_bytes()), hashlib.sha256(blob.read_bytes()).hexdigest()) for blob in blobs}
    return all(blob.name in digests[blob] for blob in blobs) and all(link.exists() for link in links)


_ALL = (
    Command("convert", ("convert", "quark→ct", "@/source", "@/out", "-j", "1"), _copy(QUARK_SHARDED, "source")),
    Command("convert, computed", ("convert", "--to", "bf16", "@/source", "@/out", "-j", "2"), _copy(QUARK, "source")),
    Command("--fix in place", ("validate", "--fix", "@/checkpoint"), _wrong_names(SHARDED), _half_changed),
    Command("--fix to a copy", ("validate", "--fix", "@/checkpoint", "--output", "@/out"), _wrong_names(SHARDED)),
    Command("card", ("card", "@/model"), _card),
    Command("report", ("report", str(REAL / CT), "--html", "@/page.html"), _page),
    Command("hook install", ("hook", "install", "@/clone"), _clone, _hook_is_active),
    Command("hook uninstall", ("hook", "uninstall", "@/clone"), _hook_installed, _hook_is_active),
    Command("hook hf", ("hook", "hf"), lambda folder: None, _manifest_is_whole),
    Command("hook hf --remove", ("hook", "hf", "--remove"), _registered, _manifest_is_whole),
    Command("upload", ("upload", "@/model", "org/new"), _copy(CT, "model"), hub=True),
    Command(
        "validate hf://",
        ("validate", "hf://org/model"),
        _copy(CT, "served"),
        _cache_is_whole,
        hub=True,
        answers=True,
    ),
)
COMMANDS: dict[str, Command] = {command.name: command for command in _ALL}
