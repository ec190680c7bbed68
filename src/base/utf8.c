/*
 * utf8.c - well-formedness of UTF-8; see utf8.h.
 */
#include "utf8.h"

#include <string.h>

int
utf8_character_bytes(const char *text, size_t length)
{
	const unsigned char *bytes = (const unsigned char *) text;
	unsigned char low = 0x80;
	unsigned char high = 0xBF;
	int n_bytes;

	if (length == 0)
		return 0;
	if (bytes[0] < 0x80)
		return 1;
	if (bytes[0] < 0xC2 || bytes[0] > 0xF4)
		return -1;
	n_bytes = bytes[0] < 0xE0 ? 2 : bytes[0] < 0xF0 ? 3 : 4;
	/* the second byte's range excludes overlong forms, surrogates and what lies over U+10FFFF */
	if (bytes[0] == 0xE0)
		low = 0xA0;
	else if (bytes[0] == 0xED)
		high = 0x9F;
	else if (bytes[0] == 0xF0)
		low = 0x90;
	else if (bytes[0] == 0xF4)
		high = 0x8F;
	for (int i = 1; i < n_bytes; i++)
	{
		if ((size_t) i >= length)
			return 0;
		if (bytes[i] < low || bytes[i] > high)
			return -1;
		low = 0x80;
		high = 0xBF;
	}
	return n_bytes;
}

bool
utf8_is_valid(const char *text, size_t length)
{
	size_t offset = 0;

	while (offset < length)
	{
		int n_bytes = utf8_character_bytes(text + offset, length - offset);

		if (n_bytes <= 0)
			return false;
		offset += (size_t) n_bytes;
	}
	return true;
}

size_t
utf8_cut(const char *text, size_t length, size_t limit)
{
	size_t start = limit;

	if (length <= limit)
		return length;
	/* where the character begins whose bytes stand on both sides of limit */
	while (start > 0 && limit - start < 3 && ((unsigned char) text[start] & 0xC0) == 0x80)
		start--;
	return utf8_character_bytes(text + start, length - start) > (int) (limit - start) ? start : limit;
}

void
utf8_copy(char *to, size_t bytes, const char *from)
{
	size_t length = utf8_cut(from, strlen(from), bytes - 1);

	memcpy(to, from, length);
	to[length] = '\0';
}

void
utf8_clean(char *text)
{
	size_t length = strlen(text), n = 0;

	for (size_t i = 0; i < length;)
	{
		int n_bytes = utf8_character_bytes(text + i, length - i);

		if (n_bytes <= 0)
		{
			i++;
			continue;
		}
		memmove(text + n, text + i, (size_t) n_bytes);
		n += (size_t) n_bytes;
		i += (size_t) n_bytes;
	}
	text[n] = '\0';
}

uint32_t
utf8_code_point(const char *text, int n_bytes)
{
	const unsigned char *bytes = (const unsigned char *) text;

	switch (n_bytes)
	{
		case 1:
			return bytes[0];
		case 2:
			return (uint32_t) (bytes[0] & 0x1F) << 6 | (bytes[1] & 0x3F);
		case 3:
			return (uint32_t) (bytes[0] & 0x0F) << 12 | (uint32_t) (bytes[1] & 0x3F) << 6 | (bytes[2] & 0x3F);
		default:
			return (uint32_t) (bytes[0] & 0x07) << 18 | (uint32_t) (bytes[1] & 0x3F) << 12 |
				   (uint32_t) (bytes[2] & 0x3F) << 6 | (bytes[3] & 0x3F);
	}
}

/* First and last of what is blank: Unicode's White_Space, controls, and what is invisible by default. */
static const uint32_t blanks[][2] = {
	{0x00, 0x20},     {0x7F, 0xA0},     {0xAD, 0xAD},     {0x34F, 0x34F},   {0x61C, 0x61C},
	{0x115F, 0x1160}, {0x1680, 0x1680}, {0x17B4, 0x17B5}, {0x180B, 0x180F}, {0x2000, 0x200F},
	{0x2028, 0x202F}, {0x205F, 0x206F}, {0x2800, 0x2800}, {0x3000, 0x3000}, {0x3164, 0x3164},
	{0xFE00, 0xFE0F}, {0xFEFF, 0xFEFF}, {0xFFA0, 0xFFA0}, {0xFFF9, 0xFFFB},
};

bool
utf8_code_point_is_blank(uint32_t code_point)
{
	for (size_t i = 0; i < sizeof blanks / sizeof blanks[0]; i++)
		if (code_point <= blanks[i][1])
			return code_point >= blanks[i][0];
	return false;
}

bool
utf8_is_blank(const char *text, size_t length)
{
	size_t offset = 0;

	while (offset < length)
	{
		int n_bytes = utf8_character_bytes(text + offset, length - offset);

		if (n_bytes <= 0 || !utf8_code_point_is_blank(utf8_code_point(text + offset, n_bytes)))
			return false;
		offset += (size_t) n_bytes;
	}
	return true;
}

int
utf8_write(uint32_t code_point, char *out)
{
	if (code_point < 0x80)
	{
		out[0] = (char) code_point;
		return 1;
	}
	if (code_point < 0x800)
	{
		out[0] = (char) (0xC0 | code_point >> 6);
		out[1] = (char) (0x80 | (code_point & 0x3F));
		return 2;
	}
	if (code_point < 0x10000)
	{
		out[0] = (char) (0xE0 | code_point >> 12);
		out[1] = (char) (0x80 | (code_point >> 6 & 0x3F));
		out[2] = (char) (0x80 | (code_point & 0x3F));
		return 3;
	}
	out[0] = (char) (0xF0 | code_point >> 18);
	out[1] = (char) (0x80 | (code_point >> 12 & 0x3F));
	out[2] = (char) (0x80 | (code_point >> 6 & 0x3F));
	out[3] = (char) (0x80 | (code_point & 0x3F));
	return 4;
}
