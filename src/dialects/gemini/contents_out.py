"""Messages → `contents`. Sources: Gemini API reference, `Content`, `Part`; "Thought signatures"; "Function
calling", section "Multimodal function responses"; "File input methods"; Vertex AI, "Thought signatures"."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import msgspec

from ...core.errors import BadRequest
from ..blobs import readable
from ..conversation import (
    Audio,
    Blob,
    Document,
    Image,
    Inline,
    Message,
    Part,
    PlainText,
    Reasoning,
    Refusal,
    Source,
    Text,
    ToolCall,
    ToolResult,
    Upstream,
    Url,
)
from ..translation import CannotCarry
from .models import Traits
from .places import is_vertex

SIGNATURE = "gemini.thoughtSignature"
# What Google documents for calls that another model made: base64 of skip_thought_signature_validator.
_DUMMY_SIGNATURE = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="
FUNCTION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
WHY_NOT_A_NAME = (
    "Gemini's function names begin with a letter or an underscore and have up to 128 letters, digits, "
    "underscores, dots, colons and dashes"
)

_IMAGES = frozenset(("image/png", "image/jpeg", "image/jpg", "image/webp", "image/heic", "image/heif"))
_IN_RESULTS = frozenset(("image/png", "image/jpeg", "image/webp", "application/pdf", "text/plain"))
_DOCUMENTS = ("text/", "application/pdf", "application/json", "application/xml", "application/rtf", "image/")
_IMAGE_ENDINGS = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "heic": "image/heic",
    "heif": "image/heif",
    "gif": "image/gif",
}
_DOCUMENT_ENDINGS = {
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "html": "text/html",
    "htm": "text/html",
    "css": "text/css",
    "csv": "text/csv",
    "xml": "text/xml",
    "rtf": "application/rtf",
    "json": "application/json",
    # Not read, and not to be taken for PDF.
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "ppt": "application/vnd.ms-powerpoint",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "epub": "application/epub+zip",
    "zip": "application/zip",
}
_ENDING = re.compile(r"\.([A-Za-z0-9]+)$")

Wire = dict[str, Any]

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def arguments_object(text: str) -> msgspec.Raw | dict[str, str]:
    """A call's arguments as the object that Gemini wants, its bytes as they are where they are one. Some
    models write `null` for none."""
    if text.strip() in ("", "null"):
        return {}
    try:
        _decode_object(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {"raw_arguments": text}
    return msgspec.Raw(text)


def _text_of_signature(blob: Blob | None, upstream: Upstream) -> str:
    return blob.data if blob is not None and readable(blob, upstream, SIGNATURE) else ""


class Contents:
    """Puts messages into `contents`, one after another. `dropped` collects what has no place."""

    def __init__(self, upstream: Upstream, traits: Traits) -> None:
        self.dropped: dict[str, None] = {}
        self._upstream = upstream
        self._traits = traits
        self._called: dict[str, str] = {}  # call id → function name
        self._beside: list[Wire] = []  # media of tool results that find no place in them
        self._signs = False  # the calls of this message need a signature
        self._at = (0, 0, -1)  # the part in hand: its message, its place, and the place in a tool's result

    def write(self, messages: Sequence[Message]) -> list[Wire]:
        """Messages of one role in a row are one content; `system` ones are not looked at here."""
        contents: list[Wire] = []
        turn = _current_turn(messages) if self._traits.wants_signatures else len(messages)
        for number, message in enumerate(messages):
            if message.role == "system":
                continue
            if message.name:
                self.dropped["name"] = None
            role = "model" if message.role == "assistant" else "user"
            begins = not contents or contents[-1]["role"] != role
            if begins:
                self._end_row(contents)
                self._signs = number > turn
            parts = self._parts(message, number)
            if not begins:
                contents[-1]["parts"] += parts
            elif parts or role == "user":
                contents.append({"role": role, "parts": parts})
        self._end_row(contents)
        return contents or [{"role": "user", "parts": [{"text": ""}]}]

    def _end_row(self, contents: list[Wire]) -> None:
        if not contents:
            return
        contents[-1]["parts"] += self._beside
        self._beside = []
        if not contents[-1]["parts"]:  # a user who said nothing: the turns stay in order
            contents[-1]["parts"] = [{"text": ""}]

    def _parts(self, message: Message, number: int) -> list[Wire]:
        parts: list[Wire] = []
        for place, part in enumerate(message.parts):
            self._at = (number, place, -1)
            if self._beside and not isinstance(part, ToolResult):
                parts += self._beside
                self._beside = []
            if isinstance(part, Document):
                parts += self._label(part)
            if (written := self._WRITERS[type(part)](self, part)) is not None:
                parts.append(written)
        return parts

    def _where(self) -> str:
        number, place, inner = self._at
        return f"messages[{number}].parts[{place}]" + (f".parts[{inner}]" if inner >= 0 else "")

    def _refused(self, why: str, field: str = "") -> CannotCarry:
        where = self._where() + field
        return CannotCarry(where, why, where)

    # -- what both sides say

    def _text(self, part: Text) -> Wire | None:
        signature = _text_of_signature(part.blob, self._upstream)
        if not part.text and not signature:
            return None
        if part.cached is not None:
            self.dropped["cached"] = None
        if part.citations:
            self.dropped["citations"] = None
        return {"text": part.text, "thoughtSignature": signature} if signature else {"text": part.text}

    def _refusal(self, part: Refusal) -> Wire | None:
        return {"text": part.text} if part.text else None

    def _image(self, part: Image) -> Wire:
        if part.cached is not None:
            self.dropped["cached"] = None
        if part.detail not in ("", "auto"):
            self.dropped["detail"] = None
        return self._media(part.source, "image", _IMAGE_ENDINGS, "")

    def _document(self, part: Document) -> Wire:
        if part.cached is not None:
            self.dropped["cached"] = None
        if part.cite:
            self.dropped["cite"] = None
        return self._media(part.source, "document", _DOCUMENT_ENDINGS, "application/pdf")

    def _label(self, part: Document) -> list[Wire]:
        """A document's name and what is said of it, in front of it: the model is to know them."""
        said = [f"Document: {part.name}"] if part.name else []
        if part.context:
            said.append(part.context)
        return [{"text": "\n".join(said)}] if said else []

    def _audio(self, part: Audio) -> Wire:
        return {"inlineData": {"mimeType": f"audio/{part.format}", "data": part.data}}

    def _media(self, source: Source, what: str, endings: dict[str, str], default: str) -> Wire:
        """`default` is the media type of a URL that does not tell it; "" where there is none."""
        match source:
            case Inline(media_type, data):
                self._check_type(media_type, what)
                return {"inlineData": {"mimeType": media_type, "data": data}}
            case PlainText(text):
                return {"text": text}
            case Url(url):
                return {"fileData": {"mimeType": self._type_of(url, endings, default), "fileUri": url}}

    def _check_type(self, media_type: str, what: str) -> None:
        known = media_type in _IMAGES if what == "image" else media_type.startswith(_DOCUMENTS)
        if not known:
            raise self._refused(f"Gemini reads no {what}s of type {media_type or '(none)'!r}")

    def _type_of(self, url: str, endings: dict[str, str], default: str) -> str:
        scheme = url.partition(":")[0].lower()
        if scheme not in (("https", "http", "gs") if is_vertex(self._upstream) else ("https", "http")):
            raise self._refused(f"Gemini fetches nothing from {url[:40]!r}")
        if not is_vertex(self._upstream) and not self._traits.reads_urls:
            raise self._refused(f"{self._upstream.model} fetches no URLs; send the bytes")
        ending = _ENDING.search(url.partition("?")[0].partition("#")[0])
        media_type = endings.get(ending[1].lower(), default) if ending else default
        if not media_type:
            raise self._refused("Gemini wants a media type and the URL does not tell it")
        self._check_type(media_type, "image" if endings is _IMAGE_ENDINGS else "document")
        return media_type

    # -- what models say

    def _reasoning(self, part: Reasoning) -> Wire | None:
        signature = _text_of_signature(part.blob, self._upstream)
        return {"text": part.text, "thought": True, "thoughtSignature": signature} if signature else None

    def _call(self, part: ToolCall) -> Wire:
        if not FUNCTION_NAME.fullmatch(part.name):
            raise self._refused(WHY_NOT_A_NAME, ".name")
        if part.cached is not None:
            self.dropped["cached"] = None
        self._called[part.id] = part.name
        call: Wire = {"name": part.name, "args": arguments_object(part.arguments)}
        if part.id:
            call["id"] = part.id
        signature = _text_of_signature(part.blob, self._upstream)
        # Only the first of parallel calls has a signature.
        if not signature and self._signs:
            signature = _DUMMY_SIGNATURE
        self._signs = False
        return {"functionCall": call, "thoughtSignature": signature} if signature else {"functionCall": call}

    # -- what tools say

    def _result(self, part: ToolResult) -> Wire:
        name = self._called.get(part.call_id)
        if name is None:
            where = f"{self._where()}.call_id"
            message = f"{where}: no tool call before it has the id {part.call_id!r}"
            raise BadRequest(400, "invalid_request", message, param=where)
        if part.cached is not None:
            self.dropped["cached"] = None
        texts: list[str] = []
        inside: list[Wire] = []
        beside: list[Wire] = []
        for place, piece in enumerate(part.parts):
            self._at = (*self._at[:2], place)
            media = self._in_result(piece, texts)
            if media is None:
                continue
            data = media.get("inlineData") or media["fileData"]
            fits = self._traits.media_in_results and data["mimeType"] in _IN_RESULTS
            (inside if fits else beside).append(media)
        output: Any = texts[0] if len(texts) == 1 else texts or ""
        response: Wire = {
            "name": name,
            "response": {"error" if part.is_error else "output": output},
        }
        if part.call_id:
            response["id"] = part.call_id
        if inside:
            response["parts"] = inside
        if beside:
            self._beside += [{"text": f"From the result of {name} ({part.call_id}):"}, *beside]
        return {"functionResponse": response}

    def _in_result(self, piece: Part, texts: list[str]) -> Wire | None:
        """A piece of a tool's result: what is text goes to `texts`, media come back."""
        match piece:
            case Text():
                self._text(piece)
                texts.append(piece.text)
                return None
            case Image():
                return self._image(piece)
            case Document():
                texts += [label["text"] for label in self._label(piece)]
                written = self._document(piece)
                if "text" in written:
                    texts.append(written["text"])
                    return None
                return written
        raise self._refused("Gemini's function responses hold texts, images and documents")

    # Of the class: bound methods kept in the object itself would be a cycle.
    _WRITERS: ClassVar[dict[type, Callable[[Any, Any], Wire | None]]] = {
        Text: _text,
        Image: _image,
        Document: _document,
        Audio: _audio,
        Reasoning: _reasoning,
        ToolCall: _call,
        ToolResult: _result,
        Refusal: _refusal,
    }


def _current_turn(messages: Sequence[Message]) -> int:
    """The place of the message that began the current turn: the last of a user's own, without tool results
    in its row."""
    began = -1
    row_has_results = False
    for number, message in enumerate(messages):
        if message.role == "assistant":
            row_has_results = False
        elif message.role == "user":
            if any(isinstance(part, ToolResult) for part in message.parts):
                row_has_results = True
            elif not row_has_results:
                began = number
    return began
