/*
 * renamed_label.h - keys of enums whose values are renamed.
 */
#ifndef QWEN_RENAMED_LABEL_H
#define QWEN_RENAMED_LABEL_H

/* In the postmaster: hear of such values. */
extern void job_renamed_label_init(void);

#endif
