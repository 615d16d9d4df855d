"""Images, documents and audio as Converse's blocks have them: bytes, or an object in S3.

Source: Amazon Bedrock API reference, ImageBlock, DocumentBlock, AudioBlock, S3Location.
"""

from __future__ import annotations

import base64
import re
from typing import Any

from ..conversation import Audio, Document, Image, Inline, PlainText, Source, Url
from ..translation import CannotCarry
from .models import ModelFacts

Block = dict[str, Any]

_S3 = re.compile(r"s3://[a-z0-9][.\-a-z0-9]{1,61}[a-z0-9](/.*)?")
_IMAGES = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}
_IMAGE_ENDINGS = {"png": "png", "jpeg": "jpeg", "jpg": "jpeg", "gif": "gif", "webp": "webp"}
_DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_DOCUMENT_ENDINGS = frozenset(_DOCUMENTS.values())
_AUDIO = frozenset(
    ("wav", "mp3", "opus", "aac", "flac", "ogg", "pcm", "mp4", "m4a", "webm", "mkv", "mka", "mpeg", "mpga")
)
_AUDIO_NAMES = {"pcm16": "pcm"}
_CITED_FORMATS = ("pdf", "txt")
_NO_NAME = re.compile(r"[^A-Za-z0-9\-()\[\]]+")
_LONGEST_NAME = 200


def image_block(image: Image, where: str) -> Block:
    source = image.source
    match source:
        case Inline(media_type, data) if data:
            form = _IMAGES.get(media_type.lower())
        case Url(url) if _S3.fullmatch(url):
            form = _IMAGE_ENDINGS.get(_ending(url))
        case _:
            raise CannotCarry(
                where, f"Bedrock takes images as bytes or as s3:// objects{_but(source)}", where
            )
    if form is None:
        kind = source.media_type if isinstance(source, Inline) else source.url
        raise CannotCarry(where, f"Bedrock takes PNG, JPEG, GIF and WebP images, and no {kind}", where)
    return {"image": {"format": form, "source": _source(source)}}


def _but(source: Source) -> str:
    return ", and fetches no URL" if isinstance(source, Url) else ""


def _source(source: Inline | Url) -> Block:
    if isinstance(source, Url):
        return {"s3Location": {"uri": source.url}}
    return {"bytes": source.data}


def _ending(path: str) -> str:
    name, dot, ending = path.rpartition("/")[2].rpartition(".")
    return ending.lower() if dot and name else ""


class DocumentNames:
    """Names as Bedrock allows them, each once in a request: letters, digits, single spaces, hyphens,
    parentheses and square brackets."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, name: str) -> str:
        if _ending(name) in _DOCUMENT_ENDINGS:
            name = name.rpartition(".")[0]
        plain = _NO_NAME.sub(" ", name).strip()[: _LONGEST_NAME - 10].strip() or "Document"
        own, number = plain, 1
        while own in self._taken:
            number += 1
            own = f"{plain} {number}"
        self._taken.add(own)
        return own


def document_block(
    document: Document, model: ModelFacts, names: DocumentNames, dropped: list[str], where: str
) -> Block:
    source = document.source
    cite = document.cite and model.cites
    match source:
        case PlainText(text) if text:
            # Models that can cite a document take it as text, and can cite it only so.
            form = "txt"
            encoded = base64.b64encode(text.encode()).decode()
            carried: Block = {"text": text} if model.cites else {"bytes": encoded}
        case Inline(_, data) if data:
            form, carried = _document_format(source, document.name, where), _source(source)
        case Url(url) if _S3.fullmatch(url):
            form, carried, cite = _ending(url), _source(source), False
        case _:
            raise CannotCarry(
                where, f"Bedrock takes documents as bytes or as s3:// objects{_but(source)}", where
            )
    block: Block = {"name": names.take(document.name), "source": carried}
    if form in _DOCUMENT_ENDINGS:
        block["format"] = form
    if document.context:
        block["context"] = document.context
    if cite and form in _CITED_FORMATS:
        block["citations"] = {"enabled": True}
    elif document.cite:
        dropped.append("cite")
    return {"document": block}


def _document_format(source: Inline, name: str, where: str) -> str:
    media_type = source.media_type.partition(";")[0].strip().lower()
    if form := _DOCUMENTS.get(media_type):
        return form
    ending = _ending(name)
    if media_type in ("", "application/octet-stream") and ending in _DOCUMENT_ENDINGS:
        return ending
    known = ", ".join(sorted(_DOCUMENT_ENDINGS))
    raise CannotCarry(where, f"Bedrock takes documents of these formats: {known}; and no {media_type}", where)


def audio_block(audio: Audio, model: ModelFacts, where: str) -> Block:
    form = _AUDIO_NAMES.get(audio.format, audio.format)
    if not model.hears:
        raise CannotCarry(where, "this model takes no audio", where)
    if form not in _AUDIO or not audio.data:
        raise CannotCarry(where, f"Bedrock takes no audio of the format {audio.format!r}", where)
    return {"audio": {"format": form, "source": {"bytes": audio.data}}}
