"""Chat templates of their own mind: an answer ends with its end token, and no header is trained."""

from __future__ import annotations

import pytest

from tasks.datasets.tokens.template import ChatTemplate
from tasks.datasets.tokens.turns import Turns, turns_of
from tests.support.learned import ASKED, IS_4
from tests.support.models import CHATML
from tests.support.tokenizers import make_tokenizer

FLAG = ("{%- if add_generation_prompt -%}", "{%- endif -%}")
ODD = {
    "always opens an answer": CHATML.replace(FLAG[0], "").replace(FLAG[1], ""),
    "newest first": CHATML.replace("in messages", "in messages | reverse"),
    "in capitals": CHATML.replace("m['content']", "m['content'] | upper"),
}


@pytest.mark.parametrize("how", ODD)
def test_turns_of_odd_templates(how: str) -> None:
    template = ChatTemplate(make_tokenizer(ODD[how]))
    [turns] = turns_of(template, [[ASKED, IS_4, ASKED, IS_4]])
    assert isinstance(turns, Turns)
    trained = [turns.text[begin:end] for _, (begin, end) in turns.spans]
    said = IS_4["content"].upper() if how == "in capitals" else IS_4["content"]
    assert trained == [f"{said}<|im_end|>\n"] * 2
