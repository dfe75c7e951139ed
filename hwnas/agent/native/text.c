#include "agent.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void make_room(struct text* text, size_t more) {
  if (text->length + more <= text->room) return;
  text->room = 2 * text->room + more + 256;
  text->data = enlarge(text->data, text->room);
}

void add(struct text* text, const char* format, ...) {
  va_list values;
  va_start(values, format);
  va_list again;
  va_copy(again, values);
  int length = vsnprintf(NULL, 0, format, values);
  va_end(values);
  if (length > 0) {
    make_room(text, (size_t)length + 1);
    vsnprintf(text->data + text->length, (size_t)length + 1, format, again);
    text->length += (size_t)length;
  }
  va_end(again);
}

size_t utf8_length(const unsigned char* at, size_t left) {
  unsigned char c = at[0];
  if (c < 0x80) return 1;
  size_t length = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
  if (c < 0xc2 || c > 0xf4 || length > left) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((at[i] & 0xc0) != 0x80) return 0;
  // Overlong forms, surrogates, and what lies beyond Unicode.
  bool none = (c == 0xe0 && at[1] < 0xa0) || (c == 0xed && at[1] > 0x9f) ||
              (c == 0xf0 && at[1] < 0x90) || (c == 0xf4 && at[1] > 0x8f);
  return none ? 0 : length;
}

void add_string(struct text* text, const char* value) {
  const unsigned char* at = (const unsigned char*)value;
  size_t left = strlen(value);
  add(text, "\"");
  while (left > 0) {
    size_t length = utf8_length(at, left);
    if (*at == '"' || *at == '\\') {
      add(text, "\\%c", *at);
    } else if (length == 0 || *at < 0x20 || *at == 0x7f) {
      add(text, "%s", *at == '\n' || *at == '\t' || *at == '\r' ? " " : "?");
      length = 1;
    } else {
      add(text, "%.*s", (int)length, at);
    }
    at += length;
    left -= length;
  }
  add(text, "\"");
}

void add_number(struct text* text, double value) {
  if (isfinite(value)) add(text, "%.12g", value);
  else add(text, "null");
}

void add_integer(struct text* text, bool known, int64_t value) {
  if (known) add(text, "%lld", (long long)value);
  else add(text, "null");
}
