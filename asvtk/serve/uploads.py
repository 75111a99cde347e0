"""Uploads: the body of a request, within limits of size and time, in a file in memory."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator

from python_multipart.exceptions import FormParserError
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from asvtk.serve.config import Refusal, ServeConfig

__all__ = ["Upload", "receive_upload"]

_EXPECTED = "expected a sound file, as the field 'file' of multipart/form-data or as the body itself"
_NO_SOUND = ("application/json", "application/xml", "text/")  # media types
_LONGEST_NAME = 120
_FIELD = 4096  # bytes of a field that is no file
_BLOCK = 1 << 20


class Upload:
    """A file in memory, without a name in any folder.

    Attributes:
        name: what the client calls it, for answers: neither folders nor control characters.
        path: by which processes of this user can open it.
        size: bytes.
    """

    def __init__(self, name: str):
        name = name.replace("\\", "/").rpartition("/")[2]
        name = "".join(c for c in name if c.isprintable()).strip()
        if len(name) > _LONGEST_NAME:
            name = f"{name[: _LONGEST_NAME // 2]}...{name[-_LONGEST_NAME // 3 :]}"
        self.name = name or "recording"
        self._descriptor = os.memfd_create("upload", os.MFD_CLOEXEC)
        self.path = f"/proc/{os.getpid()}/fd/{self._descriptor}"
        self.size = 0

    def write(self, block: bytes) -> None:
        self.size += os.write(self._descriptor, block)

    def close(self) -> None:
        """Forget it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class _InMemory(MultiPartParser):
    spool_max_size = sys.maxsize  # bytes above which a part would go to the disk


async def receive_upload(request: Request, config: ServeConfig) -> Upload:
    """The sound file of a request.

    Raises:
        Refusal: it is too large (413), too slow (408), of a media type that is no sound (415), no form as it
            should be (422), or the client has gone (499).
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media.startswith(_NO_SOUND):
        raise Refusal(415, f"{media[:60]}: {_EXPECTED}; a URL is not fetched")
    body = _body(request, config)
    try:
        if media == "multipart/form-data":
            return await _from_form(request, body)
        upload = Upload("")
        try:
            async for chunk in body:
                upload.write(chunk)
        except BaseException:
            upload.close()
            raise
        return upload
    except asyncio.TimeoutError:
        raise Refusal(
            408, f"the upload was not here within {config.timeout:g} s, which is the limit"
        ) from None


async def _body(request: Request, config: ServeConfig) -> AsyncIterator[bytes]:
    too_large = Refusal(413, f"the upload has more than {config.max_mb:g} MiB, which is the limit")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > config.max_bytes:
        raise too_large
    deadline, count, more = time.monotonic() + config.timeout, 0, True
    while more:
        message = await asyncio.wait_for(request.receive(), deadline - time.monotonic())
        if message["type"] == "http.disconnect":
            raise Refusal(499, "the client has gone")
        chunk, more = message.get("body", b""), message.get("more_body", False)
        count += len(chunk)
        request.state.bytes = count
        if count > config.max_bytes:
            raise too_large
        if chunk:
            yield chunk


async def _from_form(request: Request, body: AsyncIterator[bytes]) -> Upload:
    parser = _InMemory(request.headers, body, max_files=1, max_fields=8, max_part_size=_FIELD)
    try:
        form = await parser.parse()
    except MultiPartException as fault:
        raise Refusal(422, f"the form cannot be read ({fault.message}); {_EXPECTED}") from None
    except (FormParserError, ValueError) as fault:
        raise Refusal(422, f"the form cannot be read ({type(fault).__name__}); {_EXPECTED}") from None
    try:
        file = form.get("file")
        if file is None or isinstance(file, str):
            raise Refusal(422, f"the form has no file; {_EXPECTED}; a URL is not fetched")
        upload = Upload(file.filename or "")
        while block := await file.read(_BLOCK):
            upload.write(block)
        return upload
    finally:
        await form.close()
