"""The reader of a target, for the stages of which some parts ask what units do on texts."""

from __future__ import annotations

from flows.config import Params, build_once
from flows.paths import CONTEXTS, Place
from latentese.reading.base import Reader
from latentese.reading.subject_reader import StudyPlaces, SubjectReader
from latentese.subject.model import SubjectChoice


def reader_of(params: Params, target: str, place: Place) -> Reader:
    """Prepare to read with a target's subject and dictionary; nothing is loaded before something is asked."""
    source, capture = build_once(params["subject"], "subject"), params["capture"]
    places = StudyPlaces(CONTEXTS, place(target, "examples"), place(target, "dictionary"))
    subject = SubjectChoice(source, capture["dtype"], capture["device"])
    return SubjectReader(places, subject, params["targets"][target]["hookpoint"])
