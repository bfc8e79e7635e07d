"""Text head: fine-tuning from the text embeddings."""

from holdfast.methods import Family, available, compose
from holdfast.methods.text_head import TextHead


def test_the_head_starts_as_the_text_embeddings_and_learns():
    assert TextHead.head == "text" and compose(TextHead(), [], Family.DISTILL).anchors == ()
    heads = {name: kind.head for name, kind in available(Family.DISTILL).items()}
    assert {name for name, head in heads.items() if head == "new"} == {"erm", "lp-ft", "kd"}
    assert {name for name, head in heads.items() if head == "fixed"} == {
        *("vl2v", "one-stage", "image-only", "text-only")
    }
