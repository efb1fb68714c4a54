"""Lets the decoder write the analysis: what is known is forced, in one pass; only its own words are generated.

The grammar fixes the keys, the verdict and all that follows from the mask; so words and decision cannot differ.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
from torch import Tensor

from genau.answers import parse_analysis
from genau.appearance import appearance_found
from genau.errors import UsageError
from genau.judgement import Judged
from genau.model.backbones import Memory
from genau.model.configuration import GenAUConfig
from genau.model.modeling import GenAUModel
from genau.processor import GenAUProcessor
from genau.prompts import ANALYSIS_KEYS, CHAT_FORMATS, NORMAL_ADVICE, NOTHING
from genau.regions import SeverityRules, locations
from genau.results import UNKNOWN_TYPE, Analysis, Verdict

NOT_LOCALISED = "not localised"
FREE_CHARACTERS = 90  # of one free line
FREE_TEXT = r"[A-Za-z][A-Za-z0-9 ,\-]{2," + str(FREE_CHARACTERS) + "}"
SHORTEST_WORD = 3  # letters; shorter pieces may stand twice in one word
MAX_FREE_TOKENS = 96  # of one analysis, against a decoder that never ends a line


def decided_lines(
    judged: Judged, config: GenAUConfig, likeliest: str | None = None, rules: SeverityRules | None = None
) -> tuple[dict[str, str], dict[str, Sequence[str]]]:
    """Return the lines of an analysis that follow from the map, and the words among which others are chosen.

    `likeliest` is the type to name where there were no candidates; with candidates, what was found of them is said.
    `rules` say how severe it is.
    """
    if judged.inspection.verdict is not Verdict.DEFECT:
        known = {key: NOTHING for key in ("Types", "Location", "Severity", "Likely cause")}
        return known | {"Recommendation": NORMAL_ADVICE}, {}
    known = {"Location": locations(judged.regions) if judged.regions else NOT_LOCALISED}
    types = [likeliest] if likeliest else list(dict.fromkeys(defect.type for defect in judged.inspection.defects))
    known["Types"] = ", ".join(types) or UNKNOWN_TYPE
    area = max(sum(region.area_fraction for region in judged.regions), 1e-9)
    known["Severity"] = (rules or SeverityRules()).of(area, types)
    if config.measures_appearance and judged.regions and judged.inspection.picture is not None:
        known["Appearance"] = appearance_found(judged.inspection.picture, judged.regions)
    # Never the cause and the advice of a good part.
    choices = {
        "Likely cause": _of_types(types, config.trained_causes or {}),
        "Recommendation": _of_types(types, config.trained_advice or {}),
    }
    return known, {key: words for key, words in choices.items() if words}


def _of_types(types: Sequence[str], texts: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the texts of the types, each once; all texts if there is none."""
    own = [text for name in types for text in texts.get(name, ())]
    return list(dict.fromkeys(own or [text for known in texts.values() for text in known]))


def analysis_grammar(verdict_word: str, known: Mapping[str, str], choices: Mapping[str, Sequence[str]]) -> str:
    """Return the Lark grammar of one answer after `Verdict:`.

    `known` lines are forced, lines in `choices` take one of the given words, all others are free short text.
    """
    terms = [json.dumps(verdict_word)]
    for key in ANALYSIS_KEYS:
        terms.append(json.dumps(f"\n{key}: "))
        if key in known:
            terms.append(json.dumps(known[key]))
        elif key in choices:
            terms.append("(" + " | ".join(json.dumps(word) for word in choices[key]) + ")")
        else:
            terms.append(f"/{FREE_TEXT}/")
    return "start: " + " ".join(terms) + "\n"


class AnalysisWriter:
    """Writes analyses with one model; the tokenizer's table is built once."""

    def __init__(self, model: GenAUModel, processor: GenAUProcessor) -> None:
        self.model, self.processor = model, processor
        vocabulary: Any = model.get_input_embeddings().num_embeddings
        end = CHAT_FORMATS[processor.chat_format].end_of_turn
        self.end_id: int = processor.tokenizer.convert_tokens_to_ids(end)
        self.table: Any = from_tokenizer(processor.tokenizer, n_vocab=len(processor.tokenizer), eos_token=self.end_id)
        self.vocabulary = int(vocabulary)
        self.bitmask = allocate_token_bitmask(1, len(processor.tokenizer))

    @torch.inference_mode()
    def write(
        self,
        memory: Memory,
        verdict_word: str,
        known: Mapping[str, str],
        choices: Mapping[str, Sequence[str]] | None = None,
    ) -> Analysis | None:
        """Go on from a memory of one row that ends with `Verdict:`; None if the words did not come to an end.

        `verdict_word` is forced, with its leading space; for `known` and `choices` see `analysis_grammar`.
        """
        grammar = analysis_grammar(verdict_word, known, choices or {})
        matcher = LLMatcher(self.table, LLMatcher.grammar_from_lark(grammar))
        if matcher.is_error():
            raise UsageError(f"The answer's grammar cannot be built ({matcher.get_error()}). Shorten the type names.")
        ids: list[int] = []
        free = 0
        hidden = torch.empty(0)
        while free < MAX_FREE_TOKENS and not matcher.is_stopped():
            step = self._plain(matcher.compute_ff_tokens())  # the first is never empty: the verdict word is forced
            if not step:
                step = [self._choose(matcher, hidden, ids[-1])]
                free += 1
                if step == [self.end_id]:
                    break
            matcher.consume_tokens(step)
            ids += step
            hidden, memory = self._read(step, memory)
        # Cleaned-up spaces would change a name that is given, such as "it 's".
        said = self.processor.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        return parse_analysis("Verdict:" + said)

    def _plain(self, ids: list[int]) -> list[int]:
        """Spell control tokens out: in forced text they can only stem from the name of a type."""
        tokenizer = self.processor.tokenizer
        if not set(ids) & set(tokenizer.all_special_ids):
            return ids
        plain: list[int] = tokenizer(
            tokenizer.decode(ids, clean_up_tokenization_spaces=False),
            add_special_tokens=False,
            split_special_tokens=True,
        ).input_ids
        return plain

    def _read(self, ids: list[int], memory: Memory) -> tuple[Tensor, Memory]:
        words = torch.tensor([ids], device=memory.seen.device)
        backbone = self.model.backbone
        hidden, memory = backbone.read(backbone.embed(words), torch.ones_like(words, dtype=torch.bool), memory)
        return hidden[0, -1], memory

    def _choose(self, matcher: LLMatcher, hidden: Tensor, last: int) -> int:
        """Return the likeliest word that the grammar allows, and not the last one again where there is a choice."""
        logits = self.model.backbone.logits(hidden).cpu().numpy()
        fill_next_token_bitmask(matcher, self.bitmask)
        allowed = np.unpackbits(self.bitmask[0].view(np.uint8), bitorder="little")[: self.vocabulary].astype(bool)
        again = self._spelt_alike(last)
        if allowed.sum() > allowed[again].sum():
            allowed[again] = False
        # A large base's table has more rows than its tokenizer has words.
        return int(np.where(allowed, logits[: len(allowed)], -np.inf).argmax())

    def _spelt_alike(self, token: int) -> list[int]:
        """Return the ids of the same word with and without a space before it; none for what is no word."""
        word = self.processor.tokenizer.decode([token]).strip()
        if len(word) < SHORTEST_WORD or not word.isalpha():
            return []
        spellings = (self.processor.encode_text(text) for text in (word, f" {word}"))
        return [ids[0] for ids in spellings if len(ids) == 1]
