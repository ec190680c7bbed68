/*
 * check_lines.c - see check_lines.h.
 */
#include "check_lines.h"

#include <string.h>

static void
write_text(ByteWriter *writer, const char *text)
{
	size_t length = text ? strlen(text) : 0;

	write_u32(writer, text ? (uint32_t) length + 1 : 0);
	write_raw(writer, text, length);
}

static ByteSpan
read_text(ByteReader *reader)
{
	uint32_t length = read_u32(reader);

	return length > 0 ? (ByteSpan){read_raw(reader, length - 1), length - 1} : (ByteSpan){NULL, 0};
}

void
check_line_write(ByteWriter *writer, const char *item, const char *value, const char *problem)
{
	write_u8(writer, 1);
	write_text(writer, item);
	write_text(writer, value);
	write_text(writer, problem);
}

void
check_lines_end(ByteWriter *writer, const Status *status)
{
	write_u8(writer, 0);
	write_u32(writer, status->code);
	write_text(writer, status->code == STATUS_OK ? NULL : status->message);
}

bool
check_line_read(ByteReader *reader, CheckLine *line)
{
	uint8_t kind = read_u8(reader);

	memset(line, 0, sizeof *line);
	line->is_end = kind == 0;
	if (line->is_end)
	{
		line->code = (StatusCode) read_u32(reader);
		line->value = read_text(reader);
		return !reader->failed;
	}
	line->item = read_text(reader);
	line->value = read_text(reader);
	line->problem = read_text(reader);
	return kind == 1 && !reader->failed && line->item.data;
}
