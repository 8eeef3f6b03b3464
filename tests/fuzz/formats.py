"""Mutations that know the formats: texts and numbers in headers are changed, and their checksums made right."""

import json
import struct
import warnings
import zipfile
import zlib
from hashlib import sha256
from io import BytesIO
from random import Random

from .mutations import NUMBERS, mutate_bytes, mutate_json, mutate_text

__all__ = ["Files", "mutate_checkpoint", "mutate_npz", "mutate_safetensors"]

Files = dict[str, bytes | None]  #: a folder: contents by name; None is a folder


def mutate_safetensors(rng: Random, data: bytes) -> tuple[str, bytes]:
    """Change the header's JSON, with its length, and the checksums in it, made right again; or not all of it."""
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    kind = rng.choice(("header", "header", "ours", "no metadata", "text", "body", "double key"))
    if kind == "header":
        header = mutate_json(rng, header)
    elif kind == "ours":
        text = json.dumps(mutate_json(rng, json.loads(header["__metadata__"]["dzcore"])))
        header["__metadata__"] |= {"dzcore": text, "dzcore.crc32": f"{zlib.crc32(text.encode()):08x}"}
    elif kind == "no metadata":
        del header["__metadata__"]
        header = mutate_json(rng, header) if rng.random() < 0.7 else header
    elif kind == "body":
        del header["__metadata__"]
        body = mutate_bytes(rng, body, body)[1]
    text = json.dumps(header)
    if kind == "text":
        text = mutate_text(rng, text)
    elif kind == "double key":
        text = text[:-1] + ", " + json.dumps({rng.choice(list(header)): rng.choice(list(header.values()))})[1:]
    raw = text.encode("utf-8", "surrogatepass")
    size = len(raw) if rng.random() < 0.95 else rng.choice(NUMBERS) % 2**64
    return kind, size.to_bytes(8, "little") + raw + body


def mutate_npz(rng: Random, data: bytes) -> tuple[str, bytes]:
    """Change members, their names, headers and data, or the archive's own fields; all CRCs are right again."""
    kind = rng.choice(("member", "member", "npy header", "structure", "names", "fields", "fields", "crc"))
    if kind in ("fields", "crc"):
        return kind, _mutate_zip_fields(rng, data, kind == "crc")
    with zipfile.ZipFile(BytesIO(data)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
        comment = archive.comment
    i = rng.randrange(len(members))
    name, content = members[i]
    if kind == "member":
        members[i] = name, mutate_bytes(rng, content, rng.choice(members)[1])[1]
    elif kind == "npy header":
        end = 10 + int.from_bytes(content[8:10], "little")
        text = mutate_text(rng, content[10:end].decode("latin-1")).encode("utf-8", "replace")
        members[i] = name, content[:8] + struct.pack("<H", len(text) % 65536) + text + content[end:]
    elif kind == "structure":
        with_structure = (
            json.loads(zlib.decompress(comment)) if comment else {"dict": {name[:-4]: {"array": name[:-4]}}}
        )
        comment = zlib.compress(json.dumps(mutate_json(rng, with_structure)).encode())
    else:
        names = [name for name, _ in members]
        new = rng.choice(
            (
                rng.choice(names),
                f"../{name}",
                f"/{name}",
                name[:-4] or "x",
                f"{name}.npy",
                "a\\b.npy",
                f"./{name}",
                ".npy",
            )
        )
        members.insert(rng.randrange(len(members) + 1), (new, content))
        if rng.random() < 0.5:
            members.remove((name, content))
    made = BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(made, "w") as archive:
        warnings.simplefilter("ignore")  # of names that come twice
        for name, content in members:
            method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) * 10 + (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
            archive.writestr(name, content, method)
        archive.comment = comment
    return kind, made.getvalue()


#: Where the fields of the three kinds of headers of a zip archive are, and how long.
ZIP_FIELDS = {
    b"PK\3\4": ((4, 2), (6, 2), (8, 2), (10, 4), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)),
    b"PK\1\2": ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (34, 2),
                (36, 2), (38, 4), (42, 4)),
    b"PK\5\6": ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)),
    b"PK\6\6": ((4, 8), (12, 2), (16, 4), (20, 4), (24, 8), (32, 8), (40, 8), (48, 8)),
    b"PK\6\7": ((4, 4), (8, 8), (16, 4)),
}  # fmt: skip


def _mutate_zip_fields(rng: Random, data: bytes, checksum: bool) -> bytes:
    """Set fields of headers to numbers that hurt; with `checksum`, the same field in both headers of a member."""
    changed = bytearray(data)
    if checksum:  # a field in the header of a member, and its copy in the table of contents
        locals_, entries = _places(data, b"PK\3\4"), _places(data, b"PK\1\2")
        i = rng.randrange(min(len(locals_), len(entries)))
        first, second, width = rng.choice(((6, 8, 2), (8, 10, 2), (14, 16, 4), (18, 20, 4), (22, 24, 4), (26, 28, 2)))
        value = (rng.choice(NUMBERS) % 256**width).to_bytes(width, "little")
        changed[locals_[i] + first : locals_[i] + first + width] = value
        changed[entries[i] + second : entries[i] + second + width] = value
        return bytes(changed)
    for _ in range(rng.choice((1, 1, 2))):
        mark = rng.choice([mark for mark in ZIP_FIELDS if mark in data])
        offset, width = rng.choice(ZIP_FIELDS[mark])
        at = rng.choice(_places(data, mark)) + offset
        old = int.from_bytes(data[at : at + width], "little")
        value = rng.choice((rng.choice(NUMBERS), old + 1, old - 1, old * 2, old ^ 1 << rng.randrange(8 * width)))
        changed[at : at + width] = (value % 256**width).to_bytes(width, "little")
    return bytes(changed)


def _places(data: bytes, mark: bytes) -> list[int]:
    found, at = [], data.find(mark)
    while at >= 0:
        found.append(at)
        at = data.find(mark, at + 1)
    return found


def mutate_checkpoint(rng: Random, files: Files) -> tuple[str, Files]:
    """Change the newest checkpoint of a folder; its manifest with the digest made right again."""
    files = dict(files)
    folders = sorted(name for name, data in files.items() if data is None)
    newest = folders[-1]
    inside = [name for name, data in files.items() if name.startswith(f"{newest}/")]
    manifest = f"{newest}/manifest.json"
    kind = rng.choice(
        ("manifest", "manifest", "manifest", "outside", "swap files", "swap folders", "remove", "add", "data")
    )
    if kind in ("manifest", "data"):
        content = json.loads((files[manifest] or b"").partition(b'"content":')[2][:-2])
        if kind == "data":  # with digests that are right
            name = rng.choice(list(content["arrays"]))
            entry = content["arrays"][name]
            path = f"{newest}/{content['files'][entry['file']]['name']}"
            data = bytearray(files[path] or b"")
            here = slice(entry["offset"], entry["offset"] + entry["size"])
            data[here] = rng.randbytes(entry["size"])
            files[path], entry["sha256"] = bytes(data), sha256(data[here]).hexdigest()
        else:
            content = mutate_json(rng, content)
        text = json.dumps(content, separators=(",", ":"))
        if kind == "manifest" and rng.random() < 0.2:
            text = mutate_text(rng, text)
        raw = text.encode("utf-8", "surrogatepass")
        files[manifest] = b'{"sha256":"' + sha256(raw).hexdigest().encode() + b'","content":' + raw + b"}\n"
    elif kind == "outside":
        files[manifest] = mutate_bytes(rng, files[manifest] or b"", b"")[1]
    elif kind == "swap files":
        one, other = rng.choice(inside), rng.choice([name for name, data in files.items() if data is not None])
        files[one], files[other] = files[other], files[one]
    elif kind == "swap folders":
        older = folders[0]
        swapped = {newest: older, older: newest}
        files = {
            "/".join((swapped[name.partition("/")[0]], *name.split("/")[1:])): data for name, data in files.items()
        }
    elif kind == "remove":
        del files[rng.choice(inside)]
    else:
        new = rng.choice(("arrays-0099.bin", "manifest.json.bak", "x", ".tmp-x"))
        files[f"{newest}/{new}"] = rng.randbytes(20)
    return kind, dict(sorted(files.items()))
