/* text.c - see text.h: where a model keeps its text side, file by file and key by key. */
#include "engine/text/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/model/end_marks.h"
#include "engine/text/gguf_names.h"
#include "engine/text/text_files.h"

enum { PATH_BYTES_MAX = 4096, CHARSMAP_BYTES_MAX = 64 << 20 };

/* --- a GGUF's metadata --- */

typedef struct gguf_tokens { /* what px_tokenizer_gguf points to */
    px_slice *tokens, *merges;
    float *scores;
    int32_t *types;
    char *charsmap;
} gguf_tokens;

static void gguf_tokens_done(gguf_tokens *own)
{
    free(own->tokens);
    free(own->merges);
    free(own->scores);
    free(own->types);
    free(own->charsmap);
}

static int64_t gguf_id(const px_gguf *file, const char *key)
{
    int64_t id = -1;
    return px_gguf_int(file, key, &id) ? id : -1;
}

static int gguf_flag(const px_gguf *file, const char *key)
{
    bool value;
    return px_gguf_bool(file, key, &value) ? value : -1;
}

static px_status bad_array(const char *key)
{
    return px_fail(PX_INVALID_ARGUMENT, "the GGUF's %s is missing or of the wrong type", key);
}

/* Some files call the tokens that end a turn plain text, by mistake. */
static void mark_ends(gguf_tokens *own, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        if (own->types[i] == PX_TOKEN_NORMAL && px_end_mark_of(own->tokens[i]) != PX_MARK_NONE)
            own->types[i] = PX_TOKEN_CONTROL;
}

/* A list with a number for each token, or more; *out_found is false when there is none. */
static px_status find_numbers(
    const px_gguf *file, const char *key, uint64_t count, px_gguf_array *out, bool *out_found)
{
    *out_found = px_gguf_array_get(file, key, out);
    bool wrong = *out_found &&
                 (out->type == PX_GGUF_STRING || out->type == PX_GGUF_ARRAY || out->count < count);
    return wrong ? bad_array(key) : px_ok();
}

static px_status read_of_tokens(const px_gguf *file, gguf_tokens *own, uint64_t count)
{
    px_gguf_array list;
    bool found;
    PX_TRY(find_numbers(file, "tokenizer.ggml.scores", count, &list, &found));
    if (found) own->scores = px_alloc_array(count + 1, sizeof *own->scores);
    for (uint64_t i = 0; found && i < count; i++)
        own->scores[i] = (float)px_gguf_array_real(&list, i);
    PX_TRY(find_numbers(file, "tokenizer.ggml.token_type", count, &list, &found));
    own->types = px_alloc_array(count + 1, sizeof *own->types);
    for (uint64_t i = 0; i < count; i++)
        own->types[i] = found ? (int32_t)px_gguf_array_int(&list, i) : PX_TOKEN_NORMAL;
    mark_ends(own, count);
    return px_ok();
}

/* Fills what is there of the arrays. */
static px_status read_gguf_arrays(const px_gguf *file, gguf_tokens *own, px_tokenizer_gguf *fields)
{
    px_gguf_array tokens, other;
    if (!px_gguf_array_get(file, "tokenizer.ggml.tokens", &tokens) ||
        tokens.type != PX_GGUF_STRING || tokens.count > UINT32_MAX)
        return bad_array("tokenizer.ggml.tokens");
    fields->token_count = (uint32_t)tokens.count;
    own->tokens = px_alloc_array(tokens.count + 1, sizeof *own->tokens);
    px_gguf_array_strings(&tokens, own->tokens);
    PX_TRY(read_of_tokens(file, own, tokens.count));
    if (px_gguf_array_get(file, "tokenizer.ggml.merges", &other)) {
        if (other.type != PX_GGUF_STRING || other.count > UINT32_MAX)
            return bad_array("tokenizer.ggml.merges");
        own->merges = px_alloc_array(other.count + 1, sizeof *own->merges);
        px_gguf_array_strings(&other, own->merges);
        fields->merge_count = (uint32_t)other.count;
    }
    if (px_gguf_array_get(file, "tokenizer.ggml.precompiled_charsmap", &other)) {
        if (other.type == PX_GGUF_STRING || other.type == PX_GGUF_ARRAY ||
            other.count > CHARSMAP_BYTES_MAX)
            return bad_array("tokenizer.ggml.precompiled_charsmap");
        own->charsmap = px_alloc(other.count + 1);
        for (uint64_t i = 0; i < other.count; i++)
            own->charsmap[i] = (char)px_gguf_array_int(&other, i);
        fields->charsmap = (px_slice){own->charsmap, other.count};
    }
    fields->tokens = own->tokens;
    fields->scores = own->scores;
    fields->types = own->types;
    fields->merges = own->merges;
    return px_ok();
}

/* Pieces cannot be joined without the list of what joins; only Kimi's vocabulary is its own list.
 */
static px_status check_merges(const px_tokenizer_gguf *fields)
{
    static const char kimi[] = "kimi-k2";
    bool is_bpe = fields->model.length == 4 && memcmp(fields->model.data, "gpt2", 4) == 0;
    bool is_kimi =
        fields->pre.length == strlen(kimi) && !memcmp(fields->pre.data, kimi, strlen(kimi));
    return fields->merges || !is_bpe || is_kimi ? px_ok() : bad_array("tokenizer.ggml.merges");
}

static px_status open_gguf_tokenizer(const px_gguf *file, px_text *out)
{
    px_tokenizer_gguf fields = {0};
    if (!px_gguf_str(file, "tokenizer.ggml.model", &fields.model))
        return px_fail(PX_INVALID_ARGUMENT, "the GGUF has no tokenizer (no tokenizer.ggml.model); "
                                            "give a folder with tokenizer.json");
    px_gguf_str(file, "tokenizer.ggml.pre", &fields.pre);
    fields.bos_id = gguf_id(file, "tokenizer.ggml.bos_token_id");
    fields.eos_id = gguf_id(file, "tokenizer.ggml.eos_token_id");
    if (fields.bos_id < 0) fields.bos_id = gguf_id(file, "tokenizer.ggml.cls_token_id");
    if (fields.eos_id < 0) fields.eos_id = gguf_id(file, "tokenizer.ggml.seperator_token_id");
    fields.unknown_id = gguf_id(file, "tokenizer.ggml.unknown_token_id");
    /* The format has no place for this trait of one family's tokenizer. */
    px_slice arch = {0};
    bool sentencepiece = fields.model.length == 5 && memcmp(fields.model.data, "llama", 5) == 0;
    fields.strips_after_special = sentencepiece &&
                                  px_gguf_str(file, "general.architecture", &arch) &&
                                  arch.length == 4 && memcmp(arch.data, "phi3", 4) == 0;
    fields.remove_extra_spaces = gguf_flag(file, "tokenizer.ggml.remove_extra_whitespaces") == 1;
    fields.keeps_case = gguf_flag(file, "tokenizer.ggml.normalizer.lowercase") == 0;
    int strips = gguf_flag(file, "tokenizer.ggml.normalizer.strip_accents");
    fields.keeps_accents = strips < 0 ? fields.keeps_case : !strips;
    fields.add_bos = gguf_flag(file, "tokenizer.ggml.add_bos_token");
    fields.add_eos = gguf_flag(file, "tokenizer.ggml.add_eos_token");
    fields.add_space_prefix = gguf_flag(file, "tokenizer.ggml.add_space_prefix");
    gguf_tokens own = {0};
    px_status status = read_gguf_arrays(file, &own, &fields);
    if (px_is_ok(status)) status = check_merges(&fields);
    if (px_is_ok(status)) status = px_tokenizer_from_gguf(&fields, &out->tokenizer);
    gguf_tokens_done(&own);
    return status;
}

static void add_special_token(px_text *out, const char *name, int64_t id)
{
    if (id < 0 || id >= (int64_t)px_tokenizer_size(out->tokenizer)) return;
    px_slice token = px_tokenizer_token(out->tokenizer, (uint32_t)id);
    if (token.data)
        json_object_set_new(out->special_tokens, name, json_stringn(token.data, token.length));
}

static px_status open_gguf_template(const px_gguf *file, const char *key, px_chat_template **out)
{
    px_slice source;
    if (!px_gguf_str(file, key, &source)) return px_ok();
    return px_chat_template_create(source.data, source.length, out);
}

static void add_special_tokens(const px_gguf *file, px_text *out)
{
    add_special_token(out, "bos_token", gguf_id(file, "tokenizer.ggml.bos_token_id"));
    add_special_token(out, "eos_token", gguf_id(file, "tokenizer.ggml.eos_token_id"));
    add_special_token(out, "unk_token", gguf_id(file, "tokenizer.ggml.unknown_token_id"));
    add_special_token(out, "pad_token", gguf_id(file, "tokenizer.ggml.padding_token_id"));
}

/* What a GGUF of ours carries along of the folder it was made from. */
static px_status add_carried_tokens(const px_gguf *file, px_text *out)
{
    static const char *const names[] = {"tokenizer_config.json", "special_tokens_map.json"};
    json_t *files[2] = {NULL, NULL};
    px_status status = px_ok();
    for (size_t i = 0; i < 2 && px_is_ok(status); i++) {
        px_slice document;
        if (px_gguf_document(file, names[i], &document))
            status = px_json_parse(document.data, document.length, names[i], &files[i]);
    }
    if (px_is_ok(status)) px_text_special_tokens(files[0], files[1], out->special_tokens);
    json_decref(files[0]);
    json_decref(files[1]);
    return status;
}

static px_status open_gguf(const px_gguf *file, px_text *out)
{
    px_slice json, config;
    PX_TRY(px_gguf_str(file, "tokenizer.huggingface.json", &json)
               ? px_tokenizer_from_json(json.data, json.length, &out->tokenizer)
               : open_gguf_tokenizer(file, out));
    bool carried = px_gguf_document(file, "tokenizer_config.json", &config);
    PX_TRY(add_carried_tokens(file, out));
    if (!carried) add_special_tokens(file, out);
    PX_TRY(open_gguf_template(file, "tokenizer.chat_template", &out->chat));
    return open_gguf_template(file, "tokenizer.chat_template.tool_use", &out->chat_tools);
}

/* --- a folder --- */

static px_status create_template(const json_t *source, px_chat_template **out)
{
    if (!source) return px_ok();
    return px_chat_template_create(json_string_value(source), json_string_length(source), out);
}

static px_status read_files(const px_text_files *files, px_text *out)
{
    PX_TRY(px_prefix(px_tokenizer_from_json((const char *)files->tokenizer.data,
                         files->tokenizer.bytes, &out->tokenizer),
        "tokenizer.json"));
    px_text_special_tokens(files->config, files->special_map, out->special_tokens);
    PX_TRY(create_template(files->chat, &out->chat));
    return create_template(files->chat_tools, &out->chat_tools);
}

static px_status open_folder(const char *folder, px_text *out)
{
    px_text_files files;
    PX_TRY(px_text_files_open(folder, &files));
    px_status status = px_prefix(read_files(&files, out), "%s", folder);
    px_text_files_close(&files);
    return status;
}

/* --- either --- */

static bool has_tokenizer_json(const char *path)
{
    char file[PATH_BYTES_MAX];
    snprintf(file, sizeof file, "%s/tokenizer.json", path);
    return px_fs_is_dir(path) && px_fs_is_file(file);
}

static px_status open_any(const char *path, const px_model_file *file, px_text *out)
{
    if (strlen(path) + 64 > PATH_BYTES_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "the model's path is too long");
    if (has_tokenizer_json(path)) return open_folder(path, out);
    if (file && px_model_file_gguf(file)) return open_gguf(px_model_file_gguf(file), out);
    if (file || !(px_fs_is_dir(path) || px_fs_is_file(path)))
        return px_fail(PX_NOT_FOUND, "%s has no tokenizer.json", path);
    px_model_file *own;
    PX_TRY(px_model_file_open(path, &own));
    const px_gguf *gguf = px_model_file_gguf(own);
    px_status status =
        gguf ? open_gguf(gguf, out) : px_fail(PX_NOT_FOUND, "%s has no tokenizer.json", path);
    px_model_file_close(own);
    return status;
}

px_status px_text_open(const char *path, const px_model_file *file, px_text *out)
{
    px_text text = {.special_tokens = json_object(), .add_special = true};
    px_status status = open_any(path, file, &text);
    if (!px_is_ok(status)) {
        px_text_close(&text);
        return status;
    }
    *out = text;
    return px_ok();
}

void px_text_close(px_text *text)
{
    px_tokenizer_free(text->tokenizer);
    px_chat_template_free(text->chat);
    px_chat_template_free(text->chat_tools);
    json_decref(text->special_tokens);
    *text = (px_text){0};
}

px_status px_text_render(const px_text *text, const px_chat_input *input, px_buf *out)
{
    bool has_tools = input->tools && !json_is_null(input->tools);
    const px_chat_template *tmpl = has_tools && text->chat_tools ? text->chat_tools : text->chat;
    if (!tmpl)
        return px_fail(PX_FAILED_PRECONDITION,
            "the model has no chat template; send a plain prompt instead of messages");
    px_chat_input filled = *input;
    if (!filled.special_tokens) filled.special_tokens = text->special_tokens;
    return px_chat_template_render(tmpl, &filled, out);
}
