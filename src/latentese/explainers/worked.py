"""The default prompts: system text and worked units, one prompt for each way of writing examples."""

from __future__ import annotations

from latentese.explainers.prompt import ExplainPrompt, Worked

_TASK = (
    "You find out what makes one neuron of a language model fire. {given} Look for what the {firing} have in common: "
    "a word or several words of one kind, a meaning, a part of words, a grammatical role, a kind of text, or what "
    "stands just before. Answer with one short phrase of at most fifteen words. Be specific. Where it is about "
    "particular words, quote a few of them."
)

MARKED_PROMPT = ExplainPrompt(
    system=_TASK.format(
        given="In the excerpts, the tokens on which it fires are marked <<so>>.", firing="marked tokens"
    ),
    worked=(
        Worked(
            "- On Sundays her <<uncle>> drove us to the lake, and\n"
            "- letters to his <<grandmother>>, who could not read\n"
            "- The <<cousins>> had not met since the wedding of their <<aunt>>\n"
            "- bought the farm from a <<nephew>> of the mayor\n"
            "Marked: uncle (1), grandmother (1), cousins (1), aunt (1), nephew (1)",
            "words for relatives, such as 'uncle', 'grandmother', 'nephew'",
        ),
        Worked(
            "- with great kind<<ness>> they let us in\n"
            "- out of the dark<<ness>> came a second voice\n"
            "- a certain sharp<<ness>> in its taste, and a sweet<<ness>> after\n"
            "- was praised for the fair<<ness>> of his judgments\n"
            "Marked: ness (5)",
            "the ending '-ness' of nouns made from adjectives",
        ),
        Worked(
            "- <<Although>> it rained, the market stayed open\n"
            "- a small island, <<although>> nobody lives there now\n"
            "- He paid the fine, <<though>> he had done nothing\n"
            "- <<Although>> the mine had closed, the town kept growing\n"
            "Marked: Although (2), although (1), though (1)",
            "the conjunctions 'although' and 'though', which concede something",
        ),
        Worked(
            "- def area(width: float, height: float) <<-> >> float:\\n  return\n"
            "- def load(path: Path) <<-> >> dict[str, int]:\\n\n"
            "- async def fetch(self, url: str) <<-> >> None:\\n\n"
            "Marked: -> (3)",
            "the arrow '->' before the return type of a Python function",
        ),
        Worked(
            "- the ferry sank in a <<storm>> off the coast\n"
            "- after the <<earthquake>> the school was never rebuilt\n"
            "- crops lost to <<drought>> and, a year later, to <<floods>>\n"
            "- warned of the <<hurricane>> two days ahead\n"
            "Marked: storm (1), earthquake (1), drought (1), floods (1), hurricane (1)",
            "natural disasters, such as 'storm', 'earthquake', 'floods'",
        ),
    ),
    question="{shown}",
    answer="Fires on",
)
"""For `MarkedExcerpts`."""

VALUES_PROMPT = ExplainPrompt(
    system=_TASK.format(
        given="In the texts, every token stands on a line of its own with the neuron's activation, from 0 to 10.",
        firing="tokens with high values",
    ),
    worked=(
        Worked(
            "<start>\nletters\t0\n to\t0\n his\t1\n grandmother\t10\n,\t0\n who\t0\n<end>\n"
            "<start>\nThe\t0\n cousins\t8\n met\t0\n their\t0\n aunt\t9\n again\t0\n<end>",
            "words for relatives, such as 'grandmother', 'cousins', 'aunt'",
        ),
        Worked(
            "<start>\nout\t0\n of\t0\n the\t0\n dark\t0\nness\t10\n came\t0\n<end>\n"
            "<start>\n a\t0\n sharp\t0\nness\t9\n in\t0\n its\t0\n taste\t0\n<end>\n"
            "Tokens above 0 again:\nness\t10\nness\t9",
            "the ending '-ness' of nouns made from adjectives",
        ),
        Worked(
            "<start>\nAlthough\t10\n it\t0\n rained\t0\n,\t0\n they\t0\n left\t0\n<end>\n"
            "<start>\n the\t0\n fine\t0\n,\t0\n though\t8\n he\t0\n did\t0\n nothing\t0\n<end>",
            "the conjunctions 'although' and 'though', which concede something",
        ),
        Worked(
            "<start>\n height\t0\n)\t0\n ->\t10\n float\t0\n:\t0\n<end>\n"
            "<start>\n path\t0\n)\t0\n ->\t9\n dict\t1\n[\t0\n<end>",
            "the arrow '->' before the return type of a Python function",
        ),
        Worked(
            "<start>\nsank\t0\n in\t0\n a\t1\n storm\t10\n off\t0\n the\t0\n<end>\n"
            "<start>\nlost\t1\n to\t0\n drought\t9\n and\t0\n to\t0\n floods\t8\n<end>",
            "natural disasters, such as 'storm', 'drought', 'floods'",
        ),
    ),
    question="{shown}",
    answer="Fires on",
)
"""For `TokenValues`."""
