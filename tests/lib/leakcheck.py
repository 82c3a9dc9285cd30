"""leakcheck: does a core hold any 16 bytes of a secret, in any form in which secrets lie in memory?

    leakcheck.py (--key FILE | --text STRING | --bytes HEX)... CORE [--json]

The independent checker of redaction: it shares nothing with the sieve, makes every form of the
secret itself, and looks for every 16-byte fragment of every form at every alignment, in the whole
file, zstd-compressed or not. Public parts (moduli, points) are no secrets.

    --key    private key: PEM, DER or OpenSSH; RSA, DSA, EC, Ed25519, X25519; not encrypted
    --text   a password or token; under 16 bytes it is looked for whole
    --bytes  a symmetric key, in hexadecimal

Exit 0 clean, 1 found, 2 cannot answer. JSON: {"leak", "searched" (bytes), "forms": {FORM: places},
"hits": [{"form", "offset", "size", "whole", "address"}]}; a place is a run of touching fragments,
"whole" says that it holds all of some secret number or text, "address" is null outside of memory.

How: any 16 bytes hold one whole 8-aligned word, so only aligned words of the core are looked up,
in the set of all 8-byte windows of all forms; around a hit, all 16-byte windows are compared with
the fragments themselves.
"""

import argparse
import base64
import bisect
import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import urllib.parse

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa, x25519

FRAGMENT = 16
WORD = 8
SHORT_MIN = 8          # bytes of a text: anything shorter is everywhere
DISTINCT_MIN = 4       # byte values in a fragment: runs of zeros and the like tell nothing
BLOCK = 1 << 20
STEP = 1 << 16         # looked at in one go; all zeros is skipped
ZEROS = bytes(STEP)
HITS_SHOWN = 1000      # per form
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class CannotAnswer(Exception):
    pass


# --- forms -----------------------------------------------------------------------------------


def size_of(n):
    return (n.bit_length() + 7) // 8


def limbs(n, bits, width):
    """`bits` of the number in each little-endian word of `width` bytes, least significant first."""
    out = bytearray()
    while n:
        out += (n & ((1 << bits) - 1)).to_bytes(width, "little")
        n >>= bits
    return bytes(out)


def words_high_first(n):
    """Java's int[]: most significant word first, each as a little-endian machine stores it."""
    big = n.to_bytes((size_of(n) + 3) // 4 * 4, "big")
    return b"".join(big[i:i + 4][::-1] for i in range(0, len(big), 4))


def base64_texts(data):
    """The base64 characters that the data alone decides, for the three places at which it can
    begin in what is encoded."""
    for before in range(3):
        text = base64.b64encode(bytes(before) + data).decode()
        yield text[(before * 8 + 5) // 6:(before + len(data)) * 8 // 6]


def line_breaks(text, separator):
    """What a line break at any place makes of a text, so at any width and any phase: pieces of
    which every fragment holds the break or lies beside it."""
    for i in range(1, len(text)):
        yield text[max(0, i - FRAGMENT + 1):i] + separator + text[i:i + FRAGMENT - 1]


def encoded_forms(data):
    """Bytes that are encoded as text. Yields (form, needle, whole)."""
    for text in base64_texts(data):
        for alphabet in text, text.translate(str.maketrans("+/", "-_")):
            yield "base64", alphabet.encode(), True
            yield "base64 in UTF-16", alphabet.encode("utf-16-le"), True
            yield "base64 in UTF-16", alphabet.encode("utf-16-be"), True
        for separator in "\n", "\r\n", "\\n":  # the last is a PEM text in JSON
            for piece in line_breaks(text, separator):
                yield "base64", piece.encode(), False
        for piece in line_breaks(text, "\n"):
            yield "base64 in UTF-16", piece.encode("utf-16-le"), False
            yield "base64 in UTF-16", piece.encode("utf-16-be"), False


def hex_forms(data):
    for text in data.hex(), data.hex().upper(), data.hex(":"), data.hex(":").upper():
        yield "hex", text.encode(), True
        yield "hex in UTF-16", text.encode("utf-16-le"), True
        yield "hex in UTF-16", text.encode("utf-16-be"), True


def integer_forms(n):
    big = n.to_bytes(size_of(n), "big")
    yield "big-endian", big, True
    yield "little-endian limbs", big[::-1], True
    yield "32-bit words, high first", words_high_first(n), True
    yield "30-bit digits", limbs(n, 30, 4), True
    yield "52-bit digits", limbs(n, 52, 8), True
    yield "60-bit digits", limbs(n, 60, 8), True
    yield "decimal", str(n).encode(), True
    yield from hex_forms(big)
    yield from encoded_forms(big)


def montgomery_forms(p):
    """What tells a secret modulus although it is not there itself: gcd(R - x, N) gives it."""
    r64 = 1 << (p.bit_length() + 63) // 64 * 64
    r52 = 1 << (p.bit_length() + 51) // 52 * 52
    for x in r64 % p, r64 * r64 % p:
        yield "Montgomery, 64-bit limbs", x.to_bytes(size_of(x), "little"), True
    for x in r52 % p, r52 * r52 % p:
        yield "Montgomery, 52-bit limbs", limbs(x, 52, 8), True
        yield "Montgomery, 64-bit limbs", x.to_bytes(size_of(x), "little"), True


def bytes_forms(data):
    yield "plain", data, True
    yield "reversed", data[::-1], True
    yield from hex_forms(data)
    yield from encoded_forms(data)


def curve25519_forms(seed):
    yield from bytes_forms(seed)
    digest = hashlib.sha512(seed).digest()
    scalar = bytearray(digest[:32])
    scalar[0] &= 248
    scalar[31] = scalar[31] & 127 | 64
    for half in digest[:32], bytes(scalar), digest[32:]:
        yield "SHA-512 of the seed", half, True
        yield "SHA-512 of the seed", half[::-1], True


def text_forms(text):
    data = text.encode()
    yield "plain", data, True
    yield "UTF-16", text.encode("utf-16-le"), True
    yield "UTF-16", text.encode("utf-16-be"), True
    quoted = urllib.parse.quote(text, safe="")
    for escaped in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1],
                    json.dumps(text)[1:-1].replace("/", "\\/"), quoted,
                    urllib.parse.quote(text, safe="/"), urllib.parse.quote_plus(text),
                    re.sub("%..", lambda match: match[0].lower(), quoted)):
        yield "escaped", escaped.encode(), True
        yield "escaped in UTF-16", escaped.encode("utf-16-le"), True
    yield from encoded_forms(data)


# --- secrets ---------------------------------------------------------------------------------


def load_key(path):
    try:
        with open(path, "rb") as f:
            data = f.read()
    except OSError as error:
        raise CannotAnswer(f"{path}: {error.strerror}") from error
    for load in (serialization.load_pem_private_key, serialization.load_ssh_private_key,
                 serialization.load_der_private_key):
        try:
            return load(data, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            continue
    raise CannotAnswer(f"{path}: no private key that can be read without a passphrase")


def key_forms(key):
    if isinstance(key, rsa.RSAPrivateKey):
        k = key.private_numbers()
        e, phi = k.public_numbers.e, (k.p - 1) * (k.q - 1)
        # Some libraries keep d modulo (p-1)(q-1), others modulo their least common multiple.
        secrets = {k.d, k.p, k.q, k.dmp1, k.dmq1, k.iqmp, pow(k.p, -1, k.q), pow(e, -1, phi),
                   pow(e, -1, phi // greatest_divisor(k.p - 1, k.q - 1))}
        for n in sorted(secrets):
            yield from integer_forms(n)
        yield from montgomery_forms(k.p)
        yield from montgomery_forms(k.q)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        yield from integer_forms(key.private_numbers().private_value)
    elif isinstance(key, dsa.DSAPrivateKey):
        yield from integer_forms(key.private_numbers().x)
    elif isinstance(key, ed25519.Ed25519PrivateKey):
        yield from curve25519_forms(raw_private(key))
    elif isinstance(key, x25519.X25519PrivateKey):
        yield from bytes_forms(raw_private(key))
    else:
        raise CannotAnswer(f"{type(key).__name__}: unknown kind of key")


def greatest_divisor(a, b):
    while b:
        a, b = b, a % b
    return a


def raw_private(key):
    return key.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw,
                             serialization.NoEncryption())


def public_needles(key):
    """What may stand in a core although a private form may share it (a seed followed by its public
    key does not): subtracted, so that nothing public is ever called a leak."""
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        numbers = [public.public_numbers().n]
    elif isinstance(public, ec.EllipticCurvePublicKey):
        numbers = [public.public_numbers().x, public.public_numbers().y]
    elif isinstance(public, dsa.DSAPublicKey):
        k = public.public_numbers()
        numbers = [k.y, k.parameter_numbers.p, k.parameter_numbers.q, k.parameter_numbers.g]
    else:
        data = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return [data, data[::-1]]
    return [n.to_bytes(size_of(n), order) for n in numbers for order in ("big", "little")]


def windows(needle):
    for i in range(len(needle) - FRAGMENT + 1):
        yield needle[i:i + FRAGMENT]


class Needles:
    """All fragments of all forms, and the aligned words by which they are found."""

    def __init__(self):
        self.forms = []        # names, in order of their making
        self.fragments = {}    # 16 bytes -> index of the form
        self.short = {}        # a text under 16 bytes -> index of the form
        self.wholes = {}       # index of the form -> [needle]
        self.words = set()

    def add(self, forms, public=()):
        taken = {w for needle in public for w in windows(needle)}
        for name, needle, whole in forms:
            if name not in self.forms:
                self.forms.append(name)
            form = self.forms.index(name)
            if whole:
                self.wholes.setdefault(form, []).append(needle)
                if SHORT_MIN <= len(needle) < FRAGMENT:
                    self.short.setdefault(needle, form)
            for fragment in windows(needle):
                if fragment not in self.fragments and fragment not in taken and \
                        len(set(fragment)) >= DISTINCT_MIN:
                    self.fragments[fragment] = form
            for shift in range(WORD):
                n = (len(needle) - shift) // WORD
                self.words.update(struct.unpack_from(f"<{n}Q", needle, shift) if n > 0 else ())
        self.words.discard(0)


# --- the search ------------------------------------------------------------------------------


class Hit:
    def __init__(self, form, start, data):
        self.form, self.start, self.data = form, start, bytearray(data)
        self.last = start  # where its newest fragment begins

    @property
    def end(self):
        return self.start + len(self.data)


class Search:
    def __init__(self, needles):
        self.needles = needles
        self.hits = []
        self.open = {}  # form -> the hit that may still grow

    def found(self, form, start, data):
        hit = self.open.get(form)
        if hit and start <= hit.last:
            return  # seen in the block before
        if hit and start <= hit.end:
            hit.data += data[hit.end - start:]
            hit.last = start
            return
        self.open[form] = Hit(form, start, data)
        self.hits.append(self.open[form])

    def step(self, block, view, base, first, last):
        """Words [first, last) of a block that stands at `base` in the file."""
        matching = self.needles.words.intersection(view[first:last])
        if not matching:
            return
        fragments = self.needles.fragments
        for i in range(first, last):
            if view[i] not in matching:
                continue
            at = i * WORD
            for start in range(max(0, at + WORD - FRAGMENT), at + 1):
                fragment = block[start:start + FRAGMENT]
                form = fragments.get(fragment)
                if form is not None:
                    self.found(form, base + start, fragment)

    def block(self, block, base):
        """`block` begins with the end of the one before; its length is a multiple of WORD. Any grid
        of words will do: each 16 bytes in the block hold one of its words."""
        view = memoryview(block).cast("Q")  # little-endian, as struct's "<Q" of the needles
        for first in range(0, len(view), STEP // WORD):
            last = min(len(view), first + STEP // WORD)
            if block[first * WORD:last * WORD] != ZEROS[:(last - first) * WORD]:
                self.step(block, view, base, first, last)
        self.short(block, base)

    def short(self, block, base):
        hits = []
        for needle, form in self.needles.short.items():
            at = block.find(needle)
            while at >= 0:
                hits.append((at, form, needle))
                at = block.find(needle, at + 1)
        for at, form, needle in sorted(hits):
            self.found(form, base + at, needle)


OVERLAP = 2 * FRAGMENT  # what lies across two blocks lies whole in the second


def data_blocks(f, size):
    """(offset, bytes) of what is there in a file; holes are zeros and tell nothing."""
    at = 0
    while at < size:
        try:
            at = os.lseek(f.fileno(), at, os.SEEK_DATA)
            end = os.lseek(f.fileno(), at, os.SEEK_HOLE)
        except OSError:
            return  # ENXIO: only a hole is left
        while at < end:
            data = os.pread(f.fileno(), min(BLOCK, end - at), at)
            if not data:
                return
            yield at, data
            at += len(data)


def pipe_blocks(f):
    at = 0
    while data := f.read(BLOCK):
        yield at, data
        at += len(data)


def search_blocks(blocks, needles):
    search = Search(needles)
    tail, end, searched = b"", 0, 0
    for at, data in blocks:
        if at != end:
            tail = b""
        searched += len(data)
        block = tail + data
        search.block(block + bytes(-len(block) % WORD), at - len(tail))
        end = at + len(data)
        tail = block[-OVERLAP:]
    return search.hits, searched


def search_core(path, needles):
    with open(path, "rb") as f:
        packed = f.read(len(ZSTD_MAGIC)) == ZSTD_MAGIC
        if not packed:
            return search_blocks(data_blocks(f, os.fstat(f.fileno()).st_size), needles)
    with subprocess.Popen(["zstd", "-dcq", "--", path], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as zstd:
        result = search_blocks(pipe_blocks(zstd.stdout), needles)
    if zstd.returncode != 0:
        raise CannotAnswer(f"{path}: cut or damaged: zstd gave up after {result[1]} bytes")
    return result


def core_head(path):
    """The first bytes of a core, unpacked: enough for some thousand program headers."""
    with open(path, "rb") as f:
        head = f.read(BLOCK)
    if head[:4] != ZSTD_MAGIC:
        return head
    with subprocess.Popen(["zstd", "-dcq", "--", path], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as zstd:
        head = zstd.stdout.read(BLOCK)
        zstd.kill()
    return head


def segments(head):
    """[(offset, size, address)] of a core's PT_LOADs, rising; [] when it is no such file."""
    if head[:6] != b"\x7fELF\x02\x01" or len(head) < 64:
        return []
    phoff, phnum = struct.unpack_from("<Q", head, 32)[0], struct.unpack_from("<H", head, 56)[0]
    table = head[phoff:phoff + 56 * phnum]
    headers = struct.iter_unpack("<IIQQQQQQ", table[:len(table) // 56 * 56])
    return sorted((h[2], h[5], h[3]) for h in headers if h[0] == 1 and h[5])


def address_of(loads, offset):
    i = bisect.bisect_right(loads, (offset, 1 << 64, 0)) - 1
    if i < 0 or offset - loads[i][0] >= loads[i][1]:
        return None
    return loads[i][2] + offset - loads[i][0]


def check(path, needles):
    if not needles.fragments and not needles.short:
        raise CannotAnswer("nothing to look for: a secret has too few bytes")
    try:
        hits, searched = search_core(path, needles)
        loads = segments(core_head(path))
    except OSError as error:
        raise CannotAnswer(f"{path}: {error.strerror or error}") from error
    if searched == 0:
        raise CannotAnswer(f"{path}: empty")
    forms = dict.fromkeys(needles.forms, 0)
    shown = []
    for hit in hits:
        name = needles.forms[hit.form]
        forms[name] += 1
        if forms[name] <= HITS_SHOWN:
            whole = any(len(n) <= len(hit.data) and n in hit.data
                        for n in needles.wholes[hit.form])
            shown.append({"form": name, "offset": hit.start, "size": len(hit.data),
                          "whole": whole, "address": address_of(loads, hit.start)})
    return {"leak": bool(hits), "searched": searched, "forms": forms, "hits": shown}


def report(result):
    for form, count in result["forms"].items():
        if not count:
            continue
        hits = [h for h in result["hits"] if h["form"] == form]
        print(f"{form}: {count} places, {sum(h['whole'] for h in hits)} whole, at "
              + " ".join(f"{h['offset']:#x}+{h['size']}" for h in hits[:8])
              + (" ..." if count > 8 else ""))
    if not result["leak"]:
        print(f"clean: nothing in {result['searched']} bytes")


def gather(options):
    needles = Needles()
    for path in options.key:
        key = load_key(path)
        needles.add(key_forms(key), public_needles(key))
    for text in options.text:
        if len(text.encode()) < SHORT_MIN:
            raise CannotAnswer(f"a text of fewer than {SHORT_MIN} bytes is everywhere")
        needles.add(text_forms(text))
    for data in options.bytes:
        if len(data) < FRAGMENT:
            raise CannotAnswer(f"a key of fewer than {FRAGMENT} bytes is everywhere")
        needles.add(bytes_forms(data))
    return needles


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("core")
    parser.add_argument("--key", action="append", default=[], metavar="FILE")
    parser.add_argument("--text", action="append", default=[], metavar="STRING")
    parser.add_argument("--bytes", action="append", default=[], metavar="HEX", type=bytes.fromhex)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not (options.key or options.text or options.bytes):
        parser.error("no secret given: --key, --text or --bytes")
    try:
        result = check(options.core, gather(options))
    except CannotAnswer as error:
        print(f"leakcheck: {error}", file=sys.stderr)
        return 2
    if options.json:
        json.dump(result, sys.stdout)
        print()
    else:
        report(result)
    return 1 if result["leak"] else 0


if __name__ == "__main__":
    sys.exit(main())
