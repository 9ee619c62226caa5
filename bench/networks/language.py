"""Transformers over tokens: BERT and its relatives, from the transformers package and their published sizes.

RoBERTa and ALBERT compute the same layers as BERT: they are one group, so that none is held out beside another.
"""

from __future__ import annotations

from .catalogue import BATCH, Input, add, tokens


def question_answering(layers=12, width=768, heads=12, vocabulary=30522, positions=512):
    """BERT whose head says where an answer begins and ends."""

    def make():
        from transformers import BertConfig, BertForQuestionAnswering

        config = BertConfig(
            vocab_size=vocabulary, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
            intermediate_size=4 * width, max_position_embeddings=positions, return_dict=False,
        )
        return BertForQuestionAnswering(config)

    return make


def ordered(make, *names):
    """A module whose positional inputs are the named arguments."""

    def wrapped():
        from torch import nn

        class Ordered(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = make()

            def forward(self, *inputs):
                return self.body(**dict(zip(names, inputs)))

        return Ordered()

    return wrapped


def sentiment():
    from transformers import BertConfig, BertForSequenceClassification

    return BertForSequenceClassification(BertConfig(vocab_size=21128, return_dict=False))


def roberta():
    from transformers import RobertaConfig, RobertaForSequenceClassification

    return RobertaForSequenceClassification(
        RobertaConfig(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, return_dict=False)
    )


def albert():
    from transformers import AlbertConfig, AlbertForSequenceClassification

    config = AlbertConfig(
        hidden_size=768, num_attention_heads=12, intermediate_size=3072, return_dict=False, hidden_act="gelu_new"
    )
    return AlbertForSequenceClassification(config)


def bert_inputs(length, vocabulary=30522):
    return (
        tokens("input_ids", length, vocabulary),
        Input("attention_mask", (BATCH, length), "int64", 2),
        Input("token_type_ids", (BATCH, length), "int64", 2),
    )


def text_cnn(words=4762, width=300, filters=256, classes=10):
    """Convolutions of widths 2, 3, 4 over word vectors, the largest of each filter."""
    import torch
    from torch import nn

    class TextCnn(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(words, width)
            self.convs = nn.ModuleList(nn.Conv2d(1, filters, (k, width)) for k in (2, 3, 4))
            self.out = nn.Linear(3 * filters, classes)

        def forward(self, ids):
            x = self.words(ids).unsqueeze(1)
            found = [torch.amax(torch.relu(c(x)).squeeze(3), 2) for c in self.convs]
            return self.out(torch.cat(found, 1))

    return TextCnn()


NAMES = ("input_ids", "attention_mask", "token_type_ids")

for length, published in ((64, 5.5), (128, 11.17), (256, 22.9), (320, None), (384, 35.3), (512, 48.3)):
    add(f"bert_base_s{length}", ordered(question_answering(), *NAMES), *bert_inputs(length), group="bert_base",
        gmacs=published)
add("spanbert_large_s512", ordered(question_answering(24, 1024, 16, 28996), *NAMES), *bert_inputs(512, 28996),
    group="bert_large", gmacs=167.5)
add("uie_s128", ordered(question_answering(vocabulary=40000, positions=2048), "input_ids", "token_type_ids",
                        "position_ids", "attention_mask"),
    tokens("input_ids", 128, 40000), Input("token_type_ids", (BATCH, 128), "int64"),
    Input("position_ids", (BATCH, 128), "int64"), Input("attention_mask", (BATCH, 128), "int64"),
    group="bert_base", gmacs=11.17)
add("bert_sentiment_s256", ordered(sentiment, "input_ids", "token_type_ids"), tokens("input_ids", 256, 21128),
    Input("token_type_ids", (BATCH, 256), "int64"), group="bert_base", gmacs=22.9)
for length in (16, 32, 64, 70, 128):
    add(f"roberta_base_s{length}", ordered(roberta, "input_ids"), tokens("input_ids", length, 50265),
        group="bert_base")
for length in (16, 32, 64, 128):
    add(f"albert_base_s{length}", ordered(albert, *NAMES), *bert_inputs(length, 30000), group="bert_base")
add("textcnn", text_cnn, tokens("ids", 32, 4762))
