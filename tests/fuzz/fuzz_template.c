/*
 * fuzz_template.c - a chat template from a hostile model file, over a conversation.
 *
 * Input: settings (a byte), then template, messages and tools, each up to a NUL. Whatever comes of it is valid text
 * with runs in order, and the same the second time.
 */
#include "../../src/template/chat_template.h"
#include "fuzz.h"

static void
check_prompt(const ChatPrompt *prompt, const ChatPrompt *again)
{
	size_t end = 0;

	PROMISE(utf8_is_valid(prompt->text, prompt->length) && prompt->text[prompt->length] == '\0');
	PROMISE(again->length == prompt->length && memcmp(again->text, prompt->text, prompt->length) == 0);
	PROMISE(again->n_trusted == prompt->n_trusted);
	for (size_t i = 0; i < prompt->n_trusted; i++)
	{
		PROMISE(prompt->trusted[i].start >= end && prompt->trusted[i].length > 0);
		end = prompt->trusted[i].start + prompt->trusted[i].length;
		PROMISE(end <= prompt->length);
	}
	(void) chat_prompt_opens_thinking(prompt);
}

static void
render(const ChatTemplate *chat_template, uint8_t settings, ByteSpan messages, ByteSpan tools)
{
	ChatInput input = {
		.messages = messages,
		.tools = tools.length ? tools : (ByteSpan){NULL, 0},
		.enable_thinking = settings & 1 ? (settings & 2) != 0 : -1,
		.add_generation_prompt = settings & 4,
		.bos_token = settings & 8 ? "<|bos|>" : "",
		.eos_token = "<|im_end|>",
		.now = 1754000000,
	};
	ChatPrompt prompt = {0}, again = {0};
	Status status = chat_template_render(chat_template, &input, &prompt);

	if (status.code == STATUS_OK)
	{
		PROMISE(chat_template_render(chat_template, &input, &again).code == STATUS_OK);
		check_prompt(&prompt, &again);
	}
	else
		PROMISE(status.message[0] && status.code != STATUS_INTERNAL &&
				utf8_is_valid(status.message, strlen(status.message)));
	chat_prompt_free(&prompt);
	chat_prompt_free(&again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char conversation[] =
		"[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":\"Hi é\"}]";
	ByteSpan source, messages, tools;
	ChatTemplate *chat_template;
	ByteReader input;
	uint8_t settings;
	Status status;

	byte_reader_init(&input, data, size);
	settings = read_u8(&input);
	source = fuzz_part(&input);
	messages = fuzz_valid_text(fuzz_part(&input));
	tools = fuzz_valid_text(fuzz_part(&input));
	status = chat_template_create(source.data, source.length, &chat_template);
	if (status.code == STATUS_OK)
	{
		(void) chat_template_mentions(chat_template, "enable_thinking");
		render(chat_template, settings, messages.length ? messages : (ByteSpan){conversation, strlen(conversation)},
			   tools);
		chat_template_destroy(chat_template);
	}
	else
		PROMISE(status.message[0] && status.code != STATUS_INTERNAL &&
				utf8_is_valid(status.message, strlen(status.message)));
	fuzz_free(messages);
	fuzz_free(tools);
	return 0;
}
