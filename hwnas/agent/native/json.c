// RFC 8259, and stricter: no key twice, no 0 in strings, at most so deep and so many values.
#include "agent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 16, MOST_MEMBERS = 4096, CHUNK = 4096, MOST_CHUNKS = 2048 };

static struct json* chunks[MOST_CHUNKS];
static size_t used;

// There is a 0 at `end`, and no value goes on behind a 0: a look at `*at` needs no look at `end`.
struct reader {
  char *at, *end;
  const char* start;
};

static bool wrong(const struct reader* reader, const char* what) {
  return fail("", "not valid JSON: %s at byte %zu", what, (size_t)(reader->at - reader->start));
}

static struct json* new_node(void) {
  size_t chunk = used / CHUNK;
  if (chunk >= MOST_CHUNKS) return NULL;
  if (chunks[chunk] == NULL) chunks[chunk] = take(CHUNK, sizeof(struct json));
  struct json* node = &chunks[chunk][used++ % CHUNK];
  memset(node, 0, sizeof *node);
  return node;
}

void json_release(void) {
  for (size_t i = 1; i < MOST_CHUNKS && chunks[i] != NULL; ++i) {
    free(chunks[i]);
    chunks[i] = NULL;
  }
  used = 0;
}

static void skip_space(struct reader* reader) {
  reader->at += strspn(reader->at, " \t\r\n");
}

static bool word(struct reader* reader, const char* expected) {
  size_t length = strlen(expected);
  if (strncmp(reader->at, expected, length) != 0) return wrong(reader, "no such value");
  reader->at += length;
  return true;
}

static int hex4(const char* at) {
  if (strspn(at, "0123456789abcdefABCDEF") < 4) return -1;
  return (int)strtol((char[]){at[0], at[1], at[2], at[3], 0}, NULL, 16);
}

// What stands behind \u, written as UTF-8 to `out`; never longer than what was read.
static bool unicode(struct reader* reader, char** out) {
  int code = hex4(reader->at);
  if (code <= 0 || (code >= 0xdc00 && code <= 0xdfff)) return wrong(reader, "a bad \\u");
  reader->at += 4;
  if (code >= 0xd800 && code <= 0xdbff) {
    int low = -1;
    if (strncmp(reader->at, "\\u", 2) == 0) low = hex4(reader->at += 2);
    if (low < 0xdc00 || low > 0xdfff) return wrong(reader, "half a surrogate pair");
    reader->at += 4;
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  }
  unsigned char* to = (unsigned char*)*out;
  if (code < 0x80) {
    *to++ = (unsigned char)code;
  } else {
    int tail = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const int kLead[] = {0, 0xc0, 0xe0, 0xf0};
    *to++ = (unsigned char)(kLead[tail] | code >> 6 * tail);
    while (tail-- > 0) *to++ = (unsigned char)(0x80 | (code >> 6 * tail & 0x3f));
  }
  *out = (char*)to;
  return true;
}

static bool string(struct reader* reader, char** text, size_t* length) {
  char* out = ++reader->at;
  *text = out;
  while (*reader->at != '"') {
    unsigned char c = (unsigned char)*reader->at;
    if (reader->at == reader->end) return wrong(reader, "a string without end");
    if (c == '\\') {
      char escape = *++reader->at;
      static const char kNames[] = "\"\\/bfnrt", kValues[] = "\"\\/\b\f\n\r\t";
      const char* found = escape == 0 ? NULL : strchr(kNames, escape);
      if (found == NULL && escape != 'u') return wrong(reader, "an unknown escape");
      ++reader->at;
      if (found != NULL) *out++ = kValues[found - kNames];
      else if (!unicode(reader, &out)) return false;
      continue;
    }
    size_t size = utf8_length((unsigned char*)reader->at, (size_t)(reader->end - reader->at));
    if (c < 0x20 || size == 0) return wrong(reader, "a byte that cannot be in a string");
    memmove(out, reader->at, size);
    out += size;
    reader->at += size;
  }
  ++reader->at;
  *out = 0;  // at the closing quote or before it
  *length = (size_t)(out - *text);
  return true;
}

static char* digits(char* at) { return at + strspn(at, "0123456789"); }

static bool number(struct reader* reader, struct json* node) {
  char *start = reader->at, *first = start + (*start == '-'), *at = digits(first);
  if (at == first || (*first == '0' && at - first > 1)) return wrong(reader, "no such value");
  bool whole = *at != '.' && *at != 'e' && *at != 'E';
  if (*at == '.') at = digits(first = at + 1);
  if (at > first && (*at == 'e' || *at == 'E')) {
    first = at + 1 + (at[1] == '+' || at[1] == '-');
    at = digits(first);
  }
  if (at == first) return wrong(reader, "a bad number");
  if (at - start > 400) return wrong(reader, "a number too long");
  node->type = JSON_NUMBER;
  node->number = strtod(start, NULL);
  if (whole) {
    errno = 0;
    node->integer = strtoll(start, NULL, 10);
    node->whole = errno == 0;
  }
  reader->at = at;
  return true;
}

static bool value(struct reader* reader, struct json* node, int depth);

static bool members(struct reader* reader, struct json* node, int depth) {
  bool object = node->type == JSON_OBJECT;
  char close = object ? '}' : ']';
  struct json** next = &node->first;
  ++reader->at;
  skip_space(reader);
  if (*reader->at == close) {
    ++reader->at;
    return true;
  }
  for (;;) {
    struct json* member = new_node();
    if (member == NULL) return wrong(reader, "too many values");
    skip_space(reader);
    if (object) {
      char* key = NULL;
      size_t length = 0;
      if (*reader->at != '"') return wrong(reader, "no key");
      if (!string(reader, &key, &length)) return false;
      if (json_get(node, key) != NULL) return wrong(reader, "a key that was there before");
      if (node->length >= MOST_MEMBERS) return wrong(reader, "too many keys");
      member->key = key;
      skip_space(reader);
      if (*reader->at != ':') return wrong(reader, "no colon");
      ++reader->at;
    }
    if (!value(reader, member, depth)) return false;
    *next = member;
    next = &member->next;
    ++node->length;
    skip_space(reader);
    char c = *reader->at;
    if (c != ',' && c != close) return wrong(reader, "neither a comma nor an end");
    ++reader->at;
    if (c == close) return true;
  }
}

static bool value(struct reader* reader, struct json* node, int depth) {
  if (depth > DEEPEST) return wrong(reader, "too many levels");
  skip_space(reader);
  switch (*reader->at) {
    case '{':
    case '[':
      node->type = *reader->at == '{' ? JSON_OBJECT : JSON_ARRAY;
      return members(reader, node, depth + 1);
    case '"':
      node->type = JSON_STRING;
      return string(reader, &node->text, &node->length);
    case 't':
      node->type = JSON_TRUE;
      return word(reader, "true");
    case 'f':
      node->type = JSON_FALSE;
      return word(reader, "false");
    case 'n':
      return word(reader, "null");
    default:
      return number(reader, node);
  }
}

const struct json* json_parse(char* text, size_t length) {
  struct reader reader = {text, text + length, text};
  struct json* root = new_node();
  bool good = root != NULL ? value(&reader, root, 0) : wrong(&reader, "too many values");
  if (good) skip_space(&reader);
  if (good && reader.at != reader.end) good = wrong(&reader, "something behind the end");
  return good ? root : NULL;
}

const struct json* json_get(const struct json* object, const char* key) {
  for (const struct json* member = object->first; member != NULL; member = member->next)
    if (member->key != NULL && strcmp(member->key, key) == 0) return member;
  return NULL;
}
