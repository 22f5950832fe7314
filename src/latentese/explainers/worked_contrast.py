"""The default prompt with near misses: system text and worked units."""

from __future__ import annotations

from latentese.explainers.prompt import ExplainPrompt, Worked

CONTRAST_PROMPT = ExplainPrompt(
    system=(
        "You find out what makes one neuron of a language model fire. In the excerpts under 'Fires', the tokens on "
        "which it fires are marked <<so>>. In those under 'Silent' it does not fire, though they may look alike. Say "
        "what the marked tokens have that the silent excerpts lack: a word or several words of one kind, a meaning, a "
        "part of words, a grammatical role, a kind of text, or what stands just before. Answer with one short phrase "
        "of at most fifteen words, about what fires. Be specific. Where it is about particular words, quote a few of "
        "them."
    ),
    worked=(
        Worked(
            "Fires:\n"
            "- rowed across to the far <<bank>> before dark\n"
            "- willows grow along both <<banks>> of the canal\n"
            "- the flood broke over the left <<bank>> at noon\n"
            "Silent:\n"
            "- the bank raised its rate for savings\n"
            "- opened an account at a bank in the capital\n"
            "Marked: bank (2), banks (1)",
            "the word 'bank' for the side of a river or canal, not for money",
        ),
        Worked(
            "Fires:\n"
            "- with great kind<<ness>> they let us in\n"
            "- out of the dark<<ness>> came a second voice\n"
            "- was praised for the fair<<ness>> of his judgments\n"
            "Silent:\n"
            "- a witness in the trial of the two brothers\n"
            "- her business closed in the spring\n"
            "Marked: ness (3)",
            "the ending '-ness' of nouns made from adjectives",
        ),
        Worked(
            "Fires:\n"
            "- def area(width: float, height: float) <<-> >> float:\\n  return\n"
            "- def load(path: Path) <<-> >> dict[str, int]:\\n\n"
            "Silent:\n"
            "- press Menu -> File -> Print to start\n"
            "- lambda path: path.stem\\n\n"
            "Marked: -> (2)",
            "the arrow '->' before the return type of a Python function",
        ),
        Worked(
            "Fires:\n"
            "- the ferry sank in a <<storm>> off the coast\n"
            "- after the <<earthquake>> the school was never rebuilt\n"
            "- crops lost to <<drought>> and, a year later, to <<floods>>\n"
            "Silent:\n"
            "- a storm of applause greeted the singer\n"
            "- Wir müssen diesen Antrag heute ablehnen, weil\n"
            "Marked: storm (1), earthquake (1), drought (1), floods (1)",
            "natural disasters, such as 'storm', 'earthquake', 'floods'",
        ),
    ),
    question="{shown}",
    answer="Fires on",
)
"""For `ContrastedExcerpts`."""
