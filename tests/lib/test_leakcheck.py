"""Has leakcheck.py teeth? Every form is planted, made here by other means than there."""

import base64
import hashlib
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import leakcheck  # noqa: E402

NOISE_SIZE = 1 << 19
FRAGMENTS_TRIED = 12
SEED = 20261124


def digits(n, radix_bits, width):
    """A number's digits, least significant first, each in a little-endian word."""
    out = []
    while n:
        n, digit = divmod(n, 2 ** radix_bits)
        out.append(digit)
    return struct.pack("<%d%s" % (len(out), "I" if width == 4 else "Q"), *out)


def java_words(n):
    text = "%x" % n
    text = text.rjust(-(-len(text) // 8) * 8, "0")
    return b"".join(struct.pack("<I", int(text[i:i + 8], 16)) for i in range(0, len(text), 8))


def number_forms(n):
    text = "%x" % n
    text = text if len(text) % 2 == 0 else "0" + text
    big = bytes.fromhex(text)
    pairs = [text[i:i + 2] for i in range(0, len(text), 2)]
    forms = {
        "big-endian": big,
        "little-endian limbs": bytes(reversed(big)),
        "32-bit words, high first": java_words(n),
        "30-bit digits": digits(n, 30, 4),
        "52-bit digits": digits(n, 52, 8),
        "60-bit digits": digits(n, 60, 8),
        "decimal": ("%d" % n).encode(),
        "hex": text.encode(),
        "hex, upper case": text.upper().encode(),
        "hex with colons": ":".join(pairs).encode(),
        "hex with colons, upper case": ":".join(pairs).upper().encode(),
    }
    for phase in range(3):
        # Whole groups only: what stands before and behind decides the others.
        inner = big[-phase % 3:]
        text = base64.b64encode(inner[:len(inner) // 3 * 3])
        forms[f"base64 at phase {phase}"] = text
        forms[f"base64url at phase {phase}"] = base64.urlsafe_b64encode(inner[:len(inner) // 3 * 3])
        forms[f"base64 at phase {phase} in UTF-16"] = text.decode().encode("utf-16-le")
        forms[f"base64 at phase {phase} in UTF-16 BE"] = text.decode().encode("utf-16-be")
        for width in 64, 76:
            start = random.Random(phase).randrange(width)
            lines = [text[:start]] + [text[i:i + width] for i in range(start, len(text), width)]
            forms[f"base64 in lines of {width} from {start}"] = b"\n".join(lines)
            forms[f"base64 in CRLF lines of {width} from {start}"] = b"\r\n".join(lines)
    return forms


class Checker(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.random = random.Random(SEED)
        cls.noise = cls.random.randbytes(NOISE_SIZE)
        cls.rsa = rsa.generate_private_key(65537, 2048)
        cls.p256 = ec.generate_private_key(ec.SECP256R1())
        cls.dir = tempfile.mkdtemp(prefix="leakcheck_")
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        cls.needles = {}
        for name, key in ("rsa", cls.rsa), ("p256", cls.p256):
            cls.needles[name] = leakcheck.Needles()
            cls.needles[name].add(leakcheck.key_forms(key), leakcheck.public_needles(key))

    def path(self, data, name="core"):
        path = os.path.join(self.dir, name)
        with open(path, "wb") as f:
            f.write(data)
        return path

    def planted(self, piece, at):
        return self.noise[:at] + piece + self.noise[at + len(piece):]

    def search(self, data, needles):
        return leakcheck.check(self.path(data), needles)

    def assert_found(self, what, piece, needles, whole=True):
        """All of it at a random place, then single fragments, each alone in the noise."""
        at = self.random.randrange(NOISE_SIZE - len(piece))
        result = self.search(self.planted(piece, at), needles)
        self.assertTrue(result["leak"], what)
        if whole:
            # Where two forms share fragments, hits of both touch.
            near = [hit for hit in result["hits"] if at - 2 <= hit["offset"] < at + len(piece)]
            self.assertTrue(near and near[0]["offset"] <= at + 2, (what, at, result["hits"]))
            self.assertGreaterEqual(max(hit["offset"] + hit["size"] for hit in near),
                                    at + len(piece) - 2, (what, at, len(piece), near))
        places, data = [], bytearray(self.noise)
        for _ in range(FRAGMENTS_TRIED):
            start = self.random.randrange(len(piece) - 15)
            fragment = piece[start:start + 16]
            if len(set(fragment)) < leakcheck.DISTINCT_MIN:
                continue
            at = self.random.randrange(NOISE_SIZE - 16)
            if all(abs(at - other) >= 64 for other in places):
                data[at:at + 16] = fragment
                places.append(at)
        self.assert_places(self.search(bytes(data), needles)["hits"], places, what)

    def assert_places(self, hits, places, what=None):
        """One place each; by chance its neighbours are the secret's too (once in 256)."""
        hits = sorted((hit["offset"], hit["offset"] + hit["size"]) for hit in hits)
        self.assertEqual(len(hits), len(places), what)
        for (start, end), at in zip(hits, sorted(places)):
            self.assertTrue(at - 3 <= start <= at and at + 16 <= end <= at + 19, (what, at, start))

    def rsa_numbers(self):
        k = self.rsa.private_numbers()
        return {"d": k.d, "p": k.p, "q": k.q, "dp": k.dmp1, "dq": k.dmq1, "qinv": k.iqmp,
                "d modulo (p-1)(q-1)": pow(65537, -1, (k.p - 1) * (k.q - 1))}

    def test_every_form_of_every_rsa_number_is_found(self):
        for name, n in self.rsa_numbers().items():
            for form, piece in number_forms(n).items():
                with self.subTest(f"{name}: {form}"):
                    self.assert_found(form, piece, self.needles["rsa"])

    def test_every_form_of_an_ec_scalar_is_found(self):
        for form, piece in number_forms(self.p256.private_numbers().private_value).items():
            with self.subTest(form):
                self.assert_found(form, piece, self.needles["p256"], whole="lines" not in form)

    def test_montgomery_forms_are_found(self):
        k = self.rsa.private_numbers()
        for p in k.p, k.q:
            for form, piece in {
                    "R": digits(2 ** 1024 % p, 64, 8), "R squared": digits(2 ** 2048 % p, 64, 8),
                    "2^1040": digits(2 ** 1040 % p, 52, 8),
                    "2^2080": digits(2 ** 2080 % p, 52, 8)}.items():
                with self.subTest(form):
                    self.assert_found(form, piece.rstrip(b"\0"), self.needles["rsa"])

    def test_an_ed25519_seed_and_its_hash_are_found(self):
        for cls in ed25519.Ed25519PrivateKey, x25519.X25519PrivateKey:
            key = cls.generate()
            seed = leakcheck.raw_private(key)
            needles = leakcheck.Needles()
            needles.add(leakcheck.key_forms(key), leakcheck.public_needles(key))
            self.assert_found("seed", seed, needles)
            self.assert_found("hex", seed.hex().encode(), needles)
            if cls is ed25519.Ed25519PrivateKey:
                digest = hashlib.sha512(seed).digest()
                self.assert_found("scalar", digest[:32], needles)
                self.assert_found("prefix", digest[32:], needles)

    def test_key_files_are_leaks_of_themselves(self):
        for key, name in (self.rsa, "rsa"), (self.p256, "p256"):
            for encoding, form in (
                    (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8),
                    (serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL),
                    (serialization.Encoding.DER, serialization.PrivateFormat.PKCS8),
                    (serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH)):
                with self.subTest(f"{name} {encoding} {form}"):
                    data = key.private_bytes(encoding, form, serialization.NoEncryption())
                    path = self.path(data, "key")
                    needles = leakcheck.Needles()
                    needles.add(leakcheck.key_forms(leakcheck.load_key(path)))
                    self.assertTrue(self.search(self.planted(data, 12345), needles)["leak"])

    def test_every_form_of_a_text_is_found(self):
        text = 'token/µ "quoted" & more:Zm9vYmFyIQ=='
        needles = leakcheck.Needles()
        needles.add(leakcheck.text_forms(text))
        raw = text.encode()
        for form, piece in {
                "plain": raw, "UTF-16 LE": text.encode("utf-16-le"),
                "UTF-16 BE": text.encode("utf-16-be"), "JSON": json.dumps(text).encode()[1:-1],
                "URL": b"token%2F%C2%B5%20%22quoted%22%20%26%20more%3AZm9vYmFyIQ%3D%3D",
                "form": b"token%2F%C2%B5+%22quoted%22+%26+more%3AZm9vYmFyIQ%3D%3D",
                "URL, lower case": b"token%2f%c2%b5%20%22quoted%22%20%26%20more%3aZm9vYmFyIQ%3d%3d",
                "base64": base64.b64encode(raw).rstrip(b"=")[:-1],
                "base64 behind a user name": base64.b64encode(b"user:" + raw)[7:-4],
                "base64 in UTF-16": base64.b64encode(raw).decode()[:44].encode("utf-16-le"),
        }.items():
            with self.subTest(form):
                self.assert_found(form, piece, needles)

    def test_a_short_text_is_found_whole_only(self):
        needles = leakcheck.Needles()
        needles.add(leakcheck.text_forms("hunter2#"))
        self.assertTrue(self.search(self.planted(b"hunter2#", 77), needles)["leak"])
        data = self.noise * 3
        at = leakcheck.BLOCK - 3
        self.assertTrue(self.search(data[:at] + b"hunter2#" + data[at:], needles)["leak"])
        self.assertFalse(self.search(self.planted(b"hunter2", 77), needles)["leak"])

    def test_a_symmetric_key_is_found(self):
        key = self.random.randbytes(32)
        needles = leakcheck.Needles()
        needles.add(leakcheck.bytes_forms(key))
        self.assert_found("plain", key, needles)
        self.assert_found("reversed", key[::-1], needles)
        self.assert_found("base64", base64.b64encode(key)[:42], needles)

    def test_nothing_is_found_in_noise(self):
        for needles in self.needles.values():
            self.assertFalse(self.search(self.noise, needles)["leak"])

    def test_nothing_public_is_found(self):
        for key, name in (self.rsa, "rsa"), (self.p256, "p256"):
            public = key.public_key()
            pieces = [public.public_bytes(e, f) for e, f in (
                (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
                (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
                (serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH))]
            numbers = public.public_numbers()
            for n in [numbers.n] if name == "rsa" else [numbers.x, numbers.y]:
                pieces += number_forms(n).values()
            for piece in pieces:
                self.assertFalse(self.search(self.planted(piece, 4321), self.needles[name])["leak"])

    def test_fifteen_bytes_are_no_fragment(self):
        piece = self.rsa.private_numbers().p.to_bytes(128, "big")[40:55]
        for at in range(64, 72):
            data = self.planted(b"\0" + piece + b"\0", at)
            self.assertFalse(self.search(data, self.needles["rsa"])["leak"])

    def test_fragments_are_found_across_blocks_and_at_both_ends(self):
        piece = self.rsa.private_numbers().q.to_bytes(128, "big")[16:32]
        data = (self.noise * 6)[:2 * leakcheck.BLOCK + 4096]
        for around in leakcheck.BLOCK, 2 * leakcheck.BLOCK, leakcheck.STEP:
            for at in range(around - 16, around + 1):
                hits = self.search(data[:at] + piece + data[at + 16:], self.needles["rsa"])["hits"]
                self.assert_places(hits, [at])
        for data in piece + self.noise, self.noise + piece, self.noise + b"123" + piece:
            self.assertTrue(self.search(data, self.needles["rsa"])["leak"])

    def test_a_copy_is_one_place_whole_and_has_its_address(self):
        piece = self.rsa.private_numbers().p.to_bytes(128, "little")
        head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack(
            "<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0) + struct.pack(
            "<IIQQQQQQ", 1, 6, 4096, 0x7f0000000000, 0, 1 << 20, 1 << 20, 4096)
        data = bytearray(head.ljust(8192, b"\0"))
        data[5000:5128] = piece
        hits = self.search(bytes(data), self.needles["rsa"])["hits"]
        self.assertEqual(hits, [{"form": "little-endian limbs", "offset": 5000, "size": 128,
                                 "whole": True, "address": 0x7f0000000000 + 904}])

    def test_holes_are_passed_over_and_what_lies_behind_is_found(self):
        path = self.path(b"")
        with open(path, "r+b") as f:
            f.seek(5 << 30)
            f.write(self.rsa.private_numbers().p.to_bytes(128, "big"))
            f.truncate(9 << 30)
        result = leakcheck.check(path, self.needles["rsa"])
        self.assertEqual([hit["offset"] for hit in result["hits"]], [5 << 30])
        self.assertLess(result["searched"], 1 << 20)

    def test_compressed_cores_are_read_and_cut_ones_are_no_answer(self):
        piece = self.rsa.private_numbers().p.to_bytes(128, "big")
        at = 3 * NOISE_SIZE - 50
        path = self.path(self.noise * 2 + self.noise[:-50] + piece + self.noise)
        subprocess.run(["zstd", "-qf", path], check=True)
        packed = path + ".zst"
        hits = leakcheck.check(packed, self.needles["rsa"])["hits"]
        self.assertEqual(len(hits), 1)
        self.assertTrue(hits[0]["whole"] and abs(hits[0]["offset"] - at) < 3)
        os.truncate(packed, os.path.getsize(packed) // 2)
        with self.assertRaises(leakcheck.CannotAnswer):
            leakcheck.check(packed, self.needles["rsa"])

    def test_the_program_tells_by_its_exit_status(self):
        script = os.path.abspath(leakcheck.__file__)

        def run(*arguments):
            return subprocess.run([sys.executable, "-B", script, *arguments],
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

        key = self.path(self.p256.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption()), "ec.key")
        locked = self.path(self.p256.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret")), "locked.key")
        clean = self.path(self.noise, "clean")
        d = self.p256.private_numbers().private_value.to_bytes(32, "little")
        leak = self.path(self.planted(d, 1000), "leak")
        self.assertEqual(run("--key", key, clean).returncode, 0)
        found = run("--json", "--key", key, leak)
        self.assertEqual(found.returncode, 1)
        forms = json.loads(found.stdout)["forms"]
        self.assertEqual(forms["little-endian limbs"], 1)
        self.assertEqual(forms["decimal"], 0)
        self.assertEqual(run("--key", locked, leak).returncode, 2)
        self.assertEqual(run("--key", key, leak + ".none").returncode, 2)
        self.assertEqual(run("--key", key, "/dev/null").returncode, 2)
        self.assertEqual(run("--text", "short", leak).returncode, 2)
        self.assertEqual(run(leak).returncode, 2)


if __name__ == "__main__":
    unittest.main()
