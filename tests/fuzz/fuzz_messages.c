/*
 * fuzz_messages.c - messages and tools from users, through the templates of tests/golden/template/templates and the
 * built-in one.
 *
 * Input: which template and settings (a byte; a last answer is gone on with), then messages and tools, each up to a
 * NUL. The character DEL stands in no template, so where it comes out it came from a user: it is never trusted.
 */
#include "../../src/template/chat_template.h"
#include "fuzz.h"

#define MAX_SOURCE_BYTES 65536

static ChatTemplate *
read_template(const char *name)
{
	const char *root = getenv("QWEN_TEST_SOURCE_DIR");
	static char source[MAX_SOURCE_BYTES];
	ChatTemplate *chat_template;
	char path[4096];
	size_t n = 0;
	FILE *file;

	snprintf(path, sizeof path, "%s/tests/golden/template/templates/%s.jinja", root ? root : ".", name);
	file = fopen(path, "rb");
	if (!file || (n = fread(source, 1, sizeof source, file)) == 0)
	{
		perror(path);
		exit(2);
	}
	fclose(file);
	PROMISE(n < sizeof source && !memchr(source, '\x7F', n));
	PROMISE(chat_template_create(source, n, &chat_template).code == STATUS_OK);
	return chat_template;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = {"coder", "distill", "instruct2507", "qwq"};
	static ChatTemplate *templates[5];
	ChatInput chat = {.bos_token = "", .eos_token = "<|im_end|>", .now = 1754000000};
	ByteSpan messages, tools;
	ChatPrompt prompt = {0};
	ByteReader input;
	uint8_t settings;
	Status status;

	for (size_t i = 0; i < 4 && !templates[i]; i++)
		templates[i] = read_template(names[i]);
	if (!templates[4])
		PROMISE(chat_template_create(chat_template_default, strlen(chat_template_default), &templates[4]).code ==
				STATUS_OK);
	byte_reader_init(&input, data, size);
	settings = read_u8(&input);
	messages = fuzz_valid_text(fuzz_part(&input));
	tools = fuzz_valid_text(fuzz_part(&input));
	chat.messages = messages;
	chat.tools = tools.length ? tools : (ByteSpan){NULL, 0};
	chat.enable_thinking = settings & 64 ? (settings & 128) != 0 : -1;
	chat.add_generation_prompt = settings & 32;
	chat.continues = true;
	chat.can_think = settings % 32 / 5 % 2;
	status = chat_template_render(templates[settings % 32 % 5], &chat, &prompt);
	if (status.code == STATUS_OK)
	{
		PROMISE(utf8_is_valid(prompt.text, prompt.length));
		for (size_t i = 0; i < prompt.n_trusted; i++)
		{
			PROMISE(prompt.trusted[i].start + prompt.trusted[i].length <= prompt.length);
			PROMISE(!memchr(prompt.text + prompt.trusted[i].start, '\x7F', prompt.trusted[i].length));
		}
	}
	else
		PROMISE(status.message[0] && status.code != STATUS_INTERNAL &&
				utf8_is_valid(status.message, strlen(status.message)));
	chat_prompt_free(&prompt);
	fuzz_free(messages);
	fuzz_free(tools);
	return 0;
}
