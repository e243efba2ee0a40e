"""XML that somebody else wrote, as a small tree. Document types and entities are refused: nothing is ever fetched."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from vcpu_env.scenario.errors import InputError, nearest, shown

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_ELEMENTS = 20_000


class LibvirtError(InputError):
    """A description that cannot be: one line that names file, line, element, and what is allowed."""


@dataclass
class Element:
    """An element of a file: its name, attributes, text without what surrounds it, children, and where it begins."""

    file: str
    line: int
    tag: str
    attributes: dict[str, str]
    text: str = ""
    children: list["Element"] = field(default_factory=list)
    parent: str = ""

    @property
    def path(self) -> str:
        """Its name with that of what it lies in, the root aside."""
        return f"{self.parent}/{self.tag}" if self.parent else self.tag

    def all(self, tag: str) -> list["Element"]:
        """The children of a name."""
        return [child for child in self.children if child.tag == tag]

    def one(self, tag: str) -> "Element | None":
        """The only child of a name, if there is one.

        Raises:
            LibvirtError: there are several.
        """
        found = self.all(tag)
        if len(found) > 1:
            found[1].refuse("given twice", "once")
        return found[0] if found else None

    def get(self, name: str) -> str:
        """A required attribute.

        Raises:
            LibvirtError: it is not there.
        """
        if name not in self.attributes:
            self.refuse(f"attribute {name} missing", f"<{self.tag} {name}='...'>")
        return self.attributes[name]

    def integer(self, low: int, high: int, attribute: str = "") -> int:
        """Its text, or an attribute, as an integer within limits.

        Raises:
            LibvirtError: it is none.
        """
        text = self.get(attribute) if attribute else self.text
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 20 and low <= int(text) <= high):
            self.refuse(f"{attribute or 'value'} {shown(text)}", f"{low}..{high}")
        return int(text)

    def is_on(self) -> bool:
        """The attribute state, which is "on" or "off"; an element without it is on.

        Raises:
            LibvirtError: it is something else.
        """
        state = self.attributes.get("state", "on")
        if state not in ("on", "off"):
            self.refuse(f"state {shown(state)}", "on, off")
        return state == "on"

    def refuse(self, what: str, allowed: str) -> NoReturn:
        """Say what is wrong with it.

        Raises:
            LibvirtError: always.
        """
        raise LibvirtError(f"{self.file}:{self.line}: {self.path}: {what} (allowed: {allowed})")

    def check_children(self, known: frozenset[str]) -> None:
        """Refuse children that libvirt does not know; those of other namespaces are never refused."""
        for child in self.children:
            if child.tag not in known and ":" not in child.tag:
                raise LibvirtError(
                    f"{self.file}:{child.line}: {child.path}: unknown element ({nearest(child.tag, sorted(known))})"
                )


class _Builder:
    """Builds the tree from what the parser finds."""

    def __init__(self, file: str):
        self.file, self.root, self.open, self.count = file, None, [], 0
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.characters
        self.parser.StartDoctypeDeclHandler = self.doctype
        self.parser.EntityDeclHandler = self.doctype

    root: Element | None
    open: list[Element]

    def fail(self, what: str, allowed: str) -> NoReturn:
        raise LibvirtError(f"{self.file}:{self.parser.CurrentLineNumber}: {what} (allowed: {allowed})")

    def doctype(self, *_: object) -> None:
        self.fail("document type or entity", "none; entities are not read")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.count += 1
        if len(self.open) >= MAX_DEPTH or self.count > MAX_ELEMENTS:
            self.fail("too many elements", f"{MAX_ELEMENTS}, {MAX_DEPTH} in each other")
        element = Element(self.file, self.parser.CurrentLineNumber, tag, attributes)
        if self.open:
            self.open[-1].children.append(element)
            element.parent = self.open[-1].path if len(self.open) > 1 else ""
        else:
            self.root = element
        self.open.append(element)

    def end(self, _: str) -> None:
        element = self.open.pop()
        element.text = element.text.strip()

    def characters(self, text: str) -> None:
        self.open[-1].text += text


def read_text(path: Path, what: str) -> bytes:
    """The content of a file that is not too large.

    Raises:
        LibvirtError: it cannot be read, or is.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise LibvirtError(f"{path}: cannot be read (allowed: {what}; {error.strerror})") from None
    if len(content) > MAX_BYTES:
        raise LibvirtError(f"{path}: more than {MAX_BYTES >> 20} MiB (allowed: {what})")
    return content


def parse_xml(content: bytes, file: str, root: str) -> Element:
    """The tree of a document.

    Args:
        file: its name in errors.
        root: what its outermost element must be.

    Raises:
        LibvirtError: it is no XML, or something else than asked for.
    """
    builder = _Builder(file)
    try:
        builder.parser.Parse(content, True)
    except LibvirtError:
        raise
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise LibvirtError(f"{file}:{error.lineno}: no XML: {reason} (allowed: <{root}>)") from None
    except (ValueError, LookupError):  # an encoding that Python does not know
        raise LibvirtError(f"{file}: no XML: unknown encoding (allowed: <{root}>)") from None
    tree = builder.root
    if tree is None or tree.tag != root:
        raise LibvirtError(f"{file}:1: <{tree.tag if tree else ''}> (allowed: <{root}>)")
    return tree


def cpu_set(element: Element, attribute: str = "cpuset") -> tuple[int, ...]:
    """The CPUs of a list like ``0-3,^2,8``, in order.

    Raises:
        LibvirtError: it is none, or empty.
    """
    text = element.get(attribute)
    chosen: set[int] = set()
    for part in text.split(","):
        part = part.strip()
        ends = part.removeprefix("^").split("-")
        if len(ends) > 2 or not all(end.isascii() and end.isdigit() and len(end) < 5 for end in ends):
            element.refuse(f"{attribute} {shown(text)}", "CPUs, as 0-3,^2,8")
        cpus = range(int(ends[0]), int(ends[-1]) + 1)
        if not cpus:
            element.refuse(f"{attribute} {shown(text)}", f"a range that rises, not {part}")
        chosen = chosen - set(cpus) if part.startswith("^") else chosen | set(cpus)
    if not chosen:
        element.refuse(f"{attribute} {shown(text)} is empty", "at least one CPU")
    return tuple(sorted(chosen))
