"""exact: is a clean core the kernel's stream, but for what its own note says? (P4, P5)

    exact.py RAW CLEAN      exit 0 exact, 1 not, 2 cannot answer

Reads both files byte by byte with nothing of the sieve: outside of the note's ranges every byte
must be the kernel's, inside every byte must be fill, the program headers must be the same bits,
and nothing but the ELF header's section fields and what is appended may differ.
"""

import struct
import sys

FILL = b"REDACTED"
OWNER, TYPE = b"coresieve\0", 0x43530001
EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
SHDR = struct.Struct("<IIQQQQIIQQ")
BLOCK = 1 << 20


class Inexact(Exception):
    pass


def pread(f, offset, n):
    f.seek(offset)
    return f.read(n)


def erased_ranges(f):
    """[(offset, size, reason)] of .note.coresieve, and the content level."""
    e = EHDR.unpack(pread(f, 0, EHDR.size))
    shoff, shentsize, shnum, shstrndx = e[6], e[11], e[12], e[13]
    if shoff == 0 or shentsize != SHDR.size:
        raise Inexact("no section table")
    table = [SHDR.unpack(pread(f, shoff + i * SHDR.size, SHDR.size)) for i in range(shnum)]
    names = pread(f, table[shstrndx][4], table[shstrndx][5])
    for s in table:
        name = names[s[0]:names.index(b"\0", s[0])]
        if name != b".note.coresieve":
            continue
        note = pread(f, s[4], s[5])
        namesz, descsz, kind = struct.unpack_from("<III", note)
        if kind != TYPE or note[12:12 + namesz] != OWNER:
            raise Inexact(f"note owner {note[12:12 + namesz]!r} type {kind:#x}")
        at = 12 + (namesz + 3) // 4 * 4
        version, content, n = struct.unpack_from("<IIQ", note, at)
        if version != 1 or descsz != 16 + 24 * n:
            raise Inexact(f"note version {version}, {n} ranges in {descsz} bytes")
        ranges = [struct.unpack_from("<QQI", note, at + 16 + 24 * i)[:3] for i in range(n)]
        for (a, m, _), (b, _, _) in zip(ranges, ranges[1:]):
            if a + m > b:
                raise Inexact("ranges overlap or are out of order")
        return ranges, content
    raise Inexact("no .note.coresieve")


def program_headers(f):
    e = EHDR.unpack(pread(f, 0, EHDR.size))
    phoff, phentsize, phnum = e[5], e[9], e[10]
    if phnum == 0xffff:
        phnum = SHDR.unpack(pread(f, e[6], SHDR.size))[7]
    return pread(f, phoff, phentsize * phnum)


def compare(raw_path, clean_path):
    """Raises Inexact; else returns {"ranges", "erased", "changed", "size"}."""
    with open(raw_path, "rb") as raw, open(clean_path, "rb") as clean:
        ranges, _ = erased_ranges(clean)
        size = raw.seek(0, 2)
        if clean.seek(0, 2) < size:
            raise Inexact(f"clean core is shorter than the stream ({size} bytes)")
        if program_headers(raw) != program_headers(clean):
            raise Inexact("program headers differ")
        # A PN_XNUM stream ends in the kernel's own section header, which ours replaces.
        e = EHDR.unpack(pread(raw, 0, EHDR.size))
        if e[10] == 0xffff:
            size = min(size, e[6])
        erased = changed = 0
        at, i = 0, 0
        fill = FILL * (BLOCK // len(FILL) + 1)
        while at < size:
            n = min(BLOCK, size - at)
            a, b = bytearray(pread(raw, at, n)), bytearray(pread(clean, at, n))
            if at == 0:                       # e_shoff, e_shentsize, e_shnum, e_shstrndx
                for lo, hi in ((40, 48), (58, 64)):
                    a[lo:hi] = b[lo:hi]
            while i < len(ranges) and ranges[i][0] < at + n:
                lo, hi = max(ranges[i][0], at), min(ranges[i][0] + ranges[i][1], at + n)
                want = fill[lo % 8:lo % 8 + hi - lo]
                if b[lo - at:hi - at] != want:
                    raise Inexact(f"bytes {lo:#x}-{hi:#x} are named erased and are not fill")
                changed += a[lo - at:hi - at] != want
                erased += hi - lo
                a[lo - at:hi - at] = want
                if ranges[i][0] + ranges[i][1] > at + n:
                    break
                i += 1
            if a != b:
                k = next(k for k in range(n) if a[k] != b[k])
                raise Inexact(f"byte {at + k:#x} differs and is in no range: "
                              f"{bytes(a[k:k + 16]).hex()} became {bytes(b[k:k + 16]).hex()}")
            at += n
        return {"ranges": len(ranges), "erased": erased, "changed": changed, "size": size}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: exact.py RAW CLEAN")
    try:
        print(compare(sys.argv[1], sys.argv[2]))
    except Inexact as error:
        print(f"exact.py: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        print(f"exact.py: {error}", file=sys.stderr)
        sys.exit(2)
