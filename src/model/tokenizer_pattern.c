/*
 * tokenizer_pattern.c - the split patterns of the Qwen family, run by PCRE2.
 *
 * The patterns are those of the models' tokenizer.json, written so that PCRE2 gives what the Oniguruma of Hugging
 * Face's tokenizers gives: white space is spelled out (PCRE2's \s has U+180E, which has not been white space since
 * Unicode 6.3), letters, numbers and marks younger than the Unicode of an installed PCRE2 (from 14 on) are named up to
 * Unicode 16, and repetitions that cannot give anything back are possessive, so that no match needs a stack that grows
 * with the text. Every character is matched by some alternative.
 */
#include "tokenizer_private.h"

/* Added to the general categories L, N and M in Unicode 15, 15.1 and 16 (DerivedAge.txt, UnicodeData.txt). */
#define NEW_LETTERS                                                                                                    \
	"\\x{1c89}-\\x{1c8a}\\x{a7cb}-\\x{a7cd}\\x{a7da}-\\x{a7dc}\\x{105c0}-\\x{105f3}\\x{10d4a}-\\x{10d65}"              \
	"\\x{10d6f}-\\x{10d85}\\x{10ec2}-\\x{10ec4}\\x{1123f}-\\x{11240}\\x{11380}-\\x{11389}\\x{1138b}\\x{1138e}"         \
	"\\x{11390}-\\x{113b5}\\x{113b7}\\x{113d1}\\x{113d3}\\x{11bc0}-\\x{11be0}\\x{11f02}\\x{11f04}-\\x{11f10}"          \
	"\\x{11f12}-\\x{11f33}\\x{1342f}\\x{13441}-\\x{13446}\\x{13460}-\\x{143fa}\\x{16100}-\\x{1611d}"                   \
	"\\x{16d40}-\\x{16d6c}\\x{18cff}\\x{1b132}\\x{1b155}\\x{1df25}-\\x{1df2a}\\x{1e030}-\\x{1e06d}"                    \
	"\\x{1e4d0}-\\x{1e4eb}\\x{1e5d0}-\\x{1e5ed}\\x{1e5f0}\\x{2b739}\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}"
#define NEW_NUMBERS                                                                                                    \
	"\\x{10d40}-\\x{10d49}\\x{116d0}-\\x{116e3}\\x{11bf0}-\\x{11bf9}\\x{11f50}-\\x{11f59}\\x{16130}-\\x{16139}"        \
	"\\x{16d70}-\\x{16d79}\\x{1ccf0}-\\x{1ccf9}\\x{1d2c0}-\\x{1d2d3}\\x{1e4f0}-\\x{1e4f9}\\x{1e5f1}-\\x{1e5fa}"
#define NEW_MARKS                                                                                                      \
	"\\x{897}\\x{cf3}\\x{ece}\\x{10d69}-\\x{10d6d}\\x{10efc}-\\x{10eff}\\x{11241}\\x{113b8}-\\x{113c0}\\x{113c2}"      \
	"\\x{113c5}\\x{113c7}-\\x{113ca}\\x{113cc}-\\x{113d0}\\x{113d2}\\x{113e1}-\\x{113e2}\\x{11f00}-\\x{11f01}"         \
	"\\x{11f03}\\x{11f34}-\\x{11f3a}\\x{11f3e}-\\x{11f42}\\x{11f5a}\\x{13440}\\x{13447}-\\x{13455}"                    \
	"\\x{1611e}-\\x{1612f}\\x{1e08f}\\x{1e4ec}-\\x{1e4ef}\\x{1e5ee}-\\x{1e5ef}"

/* The insides of character classes. */
#define LETTERS "\\p{L}" NEW_LETTERS
#define NUMBERS "\\p{N}" NEW_NUMBERS
#define MARKS "\\p{M}" NEW_MARKS
#define SPACES                                                                                                         \
	"\\x{09}-\\x{0d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"

/* The pattern, with the classes of what words are made of and of what punctuation is not. */
#define SPLIT_PATTERN(in_words, not_punctuation)                                                                       \
	"(?i:'s|'t|'re|'ve|'m|'ll|'d)"                                                                                     \
	"|[^\\r\\n" LETTERS NUMBERS "]?[" in_words "]++"                                                                   \
	"|[" NUMBERS "]"                                                                                                   \
	"| ?+[^" SPACES not_punctuation "]++[\\r\\n]*+"                                                                    \
	"|[" SPACES "]*[\\r\\n]++"                                                                                         \
	"|[" SPACES "]+(?![^" SPACES "])"                                                                                  \
	"|[" SPACES "]++"

/* Qwen2 to Qwen3: a word is letters; Qwen3.5: letters and marks. */
static const char qwen2_pattern[] = SPLIT_PATTERN(LETTERS, LETTERS NUMBERS);
static const char qwen35_pattern[] = SPLIT_PATTERN(LETTERS MARKS, LETTERS MARKS NUMBERS);

/* Stack of the compiled pattern: what it needs does not depend on the text; the most is a safe bound. */
#define JIT_STACK_FIRST_BYTES ((size_t) 32 * 1024)
#define JIT_STACK_MOST_BYTES ((size_t) 1024 * 1024)

Status
tokenizer_compile_pattern(Tokenizer *tokenizer, bool words_have_marks)
{
	const char *pattern = words_have_marks ? qwen35_pattern : qwen2_pattern;
	PCRE2_SIZE error_offset;
	int error_code;

	tokenizer->pattern = pcre2_compile((PCRE2_SPTR) pattern, PCRE2_ZERO_TERMINATED,
									   PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED | PCRE2_NO_START_OPTIMIZE, &error_code,
									   &error_offset, NULL);
	if (!tokenizer->pattern)
		return status_error(STATUS_INTERNAL, "PCRE2 refuses the split pattern at byte %zu with error %d",
							(size_t) error_offset, error_code);
	/* where the system forbids it or has no such stack, the interpreter does the same, slower */
	tokenizer->pattern_has_jit = pcre2_jit_compile(tokenizer->pattern, PCRE2_JIT_COMPLETE) == 0;
	return tokenizer_prepare_matching(tokenizer);
}

Status
tokenizer_prepare_matching(Tokenizer *tokenizer)
{
	tokenizer->match_data = pcre2_match_data_create_from_pattern(tokenizer->pattern, NULL);
	tokenizer->match_context = pcre2_match_context_create(NULL);
	if (!tokenizer->match_data || !tokenizer->match_context)
		return status_error(STATUS_UNAVAILABLE, "out of memory for the split pattern");

	/* a run of white space counts against the limits once a character; the interpreter's frames do not grow with it */
	pcre2_set_match_limit(tokenizer->match_context, UINT32_MAX);
	pcre2_set_depth_limit(tokenizer->match_context, UINT32_MAX);

	if (tokenizer->pattern_has_jit)
		tokenizer->jit_stack = pcre2_jit_stack_create(JIT_STACK_FIRST_BYTES, JIT_STACK_MOST_BYTES, NULL);
	if (tokenizer->jit_stack)
		pcre2_jit_stack_assign(tokenizer->match_context, NULL, tokenizer->jit_stack);
	return status_ok();
}

void
tokenizer_free_pattern(Tokenizer *tokenizer)
{
	pcre2_jit_stack_free(tokenizer->jit_stack);
	pcre2_match_context_free(tokenizer->match_context);
	pcre2_match_data_free(tokenizer->match_data);
	if (!tokenizer->is_shared)
		pcre2_code_free(tokenizer->pattern);
}

Status
tokenizer_find_word_end(Tokenizer *tokenizer, const char *text, size_t length, size_t offset, size_t *end)
{
	PCRE2_SPTR subject = (PCRE2_SPTR) text;
	int result = PCRE2_ERROR_JIT_BADOPTION;
	const PCRE2_SIZE *ends;

	if (tokenizer->pattern_has_jit)
		result = pcre2_jit_match(tokenizer->pattern, subject, length, offset, 0, tokenizer->match_data,
								 tokenizer->match_context);
	if (result == PCRE2_ERROR_JIT_BADOPTION || result == PCRE2_ERROR_JIT_STACKLIMIT)
		result = pcre2_match(tokenizer->pattern, subject, length, offset, PCRE2_NO_JIT | PCRE2_NO_UTF_CHECK,
							 tokenizer->match_data, tokenizer->match_context);
	if (result == PCRE2_ERROR_NOMEMORY || result == PCRE2_ERROR_HEAPLIMIT)
		return status_error(STATUS_UNAVAILABLE, "out of memory while splitting text into words");
	ends = pcre2_get_ovector_pointer(tokenizer->match_data);
	if (result < 0 || ends[1] <= offset)
		return status_error(STATUS_INTERNAL, "the split pattern matches nothing at byte %zu of %zu (PCRE2 says %d)",
							offset, length, result);
	*end = ends[1];
	return status_ok();
}
