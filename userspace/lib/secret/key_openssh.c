/* key_openssh: OpenSSH's own container (PROTOCOL.key of OpenSSH), which libcrypto cannot read. */

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/cursor.h"
#include "secret/key_parse.h"

#define BLOCK_SIZE 8U        /* the private section is padded to this when not encrypted */
#define ED25519_KEY_SIZE 64U /* seed and public key */
#define ED25519_SEED_SIZE 32U

static const struct {
        const char *name, *oid;
        size_t oid_size;
} curves[] = {
        { "nistp256", "\x2a\x86\x48\xce\x3d\x03\x01\x07", 8 },
        { "nistp384", "\x2b\x81\x04\x00\x22", 5 },
        { "nistp521", "\x2b\x81\x04\x00\x23", 5 },
};

static bool take_u32(struct cursor *c, uint32_t *ret) {
        if (!cursor_u32(c, ret))
                return false;
        *ret = be32toh(htole32(*ret));
        return true;
}

static bool take_string(struct cursor *c, struct key_bytes *ret) {
        struct cursor at = *c;
        uint32_t size;

        if (!take_u32(&at, &size))
                return false;
        ret->bytes = cursor_take(&at, size);
        ret->size = size;
        if (!ret->bytes)
                return false;
        *c = at;
        return true;
}

static bool take_mpint(struct cursor *c, struct key_bytes *ret) {
        if (!take_string(c, ret) || ret->size == 0 || ret->bytes[0] >= 0x80 ||
            ret->size > KEY_BITS_MAX / 8 + 1)
                return false;
        while (ret->size > 0 && ret->bytes[0] == 0) {
                ret->bytes++;
                ret->size--;
        }
        return true;
}

static bool is_text(struct key_bytes value, const char *text) {
        return value.size == strlen(text) && memcmp(value.bytes, text, value.size) == 0;
}

static void add_number(struct key *key, enum key_part part, struct key_bytes value) {
        if (value.size > 0)
                key->numbers[key->n_numbers++] = (struct key_number){ part, value };
}

static int parse_rsa(struct cursor *c, struct key *key) {
        static const enum key_part parts[] = { KEY_D, KEY_COEFFICIENT, KEY_PRIME, KEY_PRIME };
        const uint8_t *start;

        key->kind = KEY_RSA;
        if (!take_mpint(c, &key->modulus) || !take_mpint(c, &key->exponent))
                return -EBADMSG;
        start = c->data + c->pos;
        for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
                struct key_bytes value;

                if (!take_mpint(c, &value) || value.size > key->modulus.size)
                        return -EBADMSG;
                add_number(key, parts[i], value);
        }
        key->secret = (struct key_bytes){ start, (size_t)(c->data + c->pos - start) };
        return 0;
}

static int parse_dsa(struct cursor *c, struct key *key) {
        struct key_bytes value;

        key->kind = KEY_DISCRETE;
        for (size_t i = 0; i < 4; i++) /* p, q, g, y */
                if (!take_mpint(c, &value))
                        return -EBADMSG;
        if (!take_mpint(c, &value))
                return -EBADMSG;
        key->secret = value;
        add_number(key, KEY_SCALAR, value);
        return 0;
}

static int parse_ecdsa(struct cursor *c, struct key *key) {
        struct key_bytes curve, value;

        key->kind = KEY_EC;
        if (!take_string(c, &curve) || !take_string(c, &key->point) || !take_mpint(c, &value))
                return -EBADMSG;
        for (size_t i = 0; i < ARRAY_SIZE(curves); i++)
                if (is_text(curve, curves[i].name))
                        key->curve = (struct key_bytes){ (const uint8_t *)curves[i].oid,
                                                         curves[i].oid_size };
        key->secret = value;
        add_number(key, KEY_SCALAR, value);
        return 0;
}

static int parse_ed25519(struct cursor *c, struct key *key) {
        struct key_bytes both;

        key->kind = KEY_ED25519;
        if (!take_string(c, &key->point) || !take_string(c, &both) || both.size != ED25519_KEY_SIZE)
                return -EBADMSG;
        key->secret = (struct key_bytes){ both.bytes, ED25519_SEED_SIZE };
        add_number(key, KEY_SEED, key->secret);
        return 0;
}

/* A kind not known here (a security key's handle, …): all that follows is taken as private. */
static int parse_other(struct cursor *c, struct key *key) {
        key->kind = KEY_OTHER;
        key->secret = (struct key_bytes){ c->data + c->pos, cursor_left(c) };
        add_number(key, KEY_OPAQUE, key->secret);
        c->pos = c->size;
        return 0;
}

static int parse_private(struct key_bytes section, struct key *ret) {
        struct cursor c = cursor_new(section.bytes, section.size);
        struct key key = { 0 };
        struct key_bytes type, comment;
        uint32_t check1, check2;
        int r;

        if (section.size % BLOCK_SIZE != 0 || !take_u32(&c, &check1) || !take_u32(&c, &check2) ||
            check1 != check2 || !take_string(&c, &type))
                return -EBADMSG;
        if (is_text(type, "ssh-rsa"))
                r = parse_rsa(&c, &key);
        else if (is_text(type, "ssh-dss"))
                r = parse_dsa(&c, &key);
        else if (type.size > 11 && memcmp(type.bytes, "ecdsa-sha2-", 11) == 0)
                r = parse_ecdsa(&c, &key);
        else if (is_text(type, "ssh-ed25519"))
                r = parse_ed25519(&c, &key);
        else
                r = parse_other(&c, &key);
        if (r < 0)
                return r;
        if (key.kind != KEY_OTHER && (!take_string(&c, &comment) || cursor_left(&c) >= BLOCK_SIZE))
                return -EBADMSG;
        if (key.n_numbers == 0)
                return -EBADMSG;
        *ret = key;
        return 0;
}

int key_parse_openssh(const uint8_t *bytes, size_t size, struct key *ret) {
        struct cursor c = cursor_new(bytes, size);
        const uint8_t *magic = cursor_take(&c, sizeof(KEY_OPENSSH_MAGIC));
        struct key_bytes cipher, kdf, options, public, private;
        uint32_t n_keys;
        int r;

        if (!magic || memcmp(magic, KEY_OPENSSH_MAGIC, sizeof(KEY_OPENSSH_MAGIC)) != 0)
                return -EBADMSG;
        /* OpenSSH itself refuses a file of several keys. */
        if (!take_string(&c, &cipher) || !take_string(&c, &kdf) || !take_string(&c, &options) ||
            !take_u32(&c, &n_keys) || n_keys != 1 || !take_string(&c, &public) ||
            !take_string(&c, &private))
                return -EBADMSG;
        if (cursor_pos(&c) > KEY_SIZE_MAX)
                return -E2BIG;
        if (!is_text(cipher, "none")) {
                *ret = (struct key){ .container = cursor_pos(&c) };
                return -EKEYREJECTED;
        }
        r = parse_private(private, ret);
        if (r < 0)
                return r;
        ret->container = cursor_pos(&c);
        return 0;
}

int key_parse(const uint8_t *bytes, size_t size, struct key *ret) {
        if (size == 0)
                return -EBADMSG;
        if (bytes[0] == KEY_OPENSSH_MAGIC[0])
                return key_parse_openssh(bytes, size, ret);
        return key_parse_der(bytes, size, ret);
}
