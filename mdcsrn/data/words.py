"""Words in scan names that do not identify a person: contrasts, sites, sections, sessions, dates, repeats."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

# Whole words, in lower case, each perhaps with a number behind it (`run2`) or after it (`run-2`).
_NUMBERED = (
    "ses|sess|session|visit|wave|round|batch|scan|run|series|acq|acquisition|echo|rep|repeat|repetition|tp|time|"
    "timepoint|day|days|week|month|year|exam|study|followup|fu|baseline|bl|base|screening|test|retest|image|img|im|vol|"
    "volume|slice|slab|chunk|mr|mri|mpr|spc|dir|flip|inv|te|fold|dataset|task|site|scanner|center|centre|hospital|"
    "cohort|group|arm|release|disc|disk|phase|set|part"
)
_PLAIN = (
    # contrasts and sequences
    "t1|t1w|t1n|t1c|t1ce|t1gd|t1post|t1pre|t1km|t1map|t2|t2w|t2f|t2n|t2star|t2starw|t2flair|flair|pd|pdw|pdt2|swi|dwi|"
    "dti|adc|fa|md|mra|tof|angio|mprage|memprage|mp2rage|spgr|fspgr|irspgr|bravo|cube|vista|tfe|ffe|tse|fse|gre|space|"
    "unit1|uni|megre|mese|vfa|inplanet1|inplanet2|bold|asl|epi|sbref|rest|ce|gd|gad|contrast|native|"
    # places in a folder
    "anat|anatomical|structural|struct|func|images|scans|mri|nii|nifti|dicom|raw|rawdata|data|processed|unprocessed|"
    "mninonlinear|convert|converted|"
    # processing
    "brain|head|bet|skull|skullstripped|stripped|extracted|deface|defaced|orig|original|nu|norm|normalized|normalised|"
    "n3|n4|bias|biascorr|corr|corrected|correction|gradwarp|scaled|acpc|dc|restore|restored|reg|registered|coreg|"
    "aligned|warped|resampled|resliced|res|iso|hires|highres|lowres|mni|mni152|template|preproc|cropped|crop|"
    # orientations and sides
    "axial|ax|sagittal|sag|coronal|cor|tra|transversal|left|right|lh|rh|l|r|2d|3d|"
    # sections
    "train|training|tr|val|valid|validation|testing|ts|imagestr|imagests|imagesva|imagesval|"
    # groups
    "controls|patients|subjects|participants|cases|control|healthy|hc|ad|mci|cn|emci|lmci|male|female|"
    # before and after, sites and scanners
    "pre|post|before|after|first|second|third|initial|final|siemens|philips|ge|toshiba|canon|uih|hitachi|prisma|skyra|"
    "trio|verio|avanto|aera|vida|achieva|ingenia|intera|signa|discovery|premier"
)
_LETTERED = "ses|session|visit|scan|run|site|group|arm"
# A contrast in one word with what tells more of it: T1MPRAGE, 3DT1, sagT2, FLAIR2. PD01 may well be a person.
_CONTRAST = "t[12]w?|flair|mprage|mp2rage|spgr|bravo|swi|dwi|[23]d"
_MORE = "w|c|ce|gd|pre|post|brain|iso|tse|fse|gre|ax|axial|tra|sag|sagittal|cor|coronal"
_GLUED_CONTRAST = (
    rf"(?:{_MORE})?(?:{_CONTRAST})(?:{_CONTRAST}|{_MORE})+|(?:{_MORE})(?:{_CONTRAST})|"
    r"(?:t[12]w|flair|mprage|mp2rage|spgr|bravo|swi|dwi)\d"
)
_KNOWN = re.compile(
    rf"(?:{_NUMBERED})(?:\d+[a-z]?)?|(?:{_LETTERED})[a-z]|{_PLAIN}|{_GLUED_CONTRAST}|\d+(?:p\d+)?(?:t|mm|iso)|"
    r"(?:19|20)\d\d|d\d{4}"
)
# A visit or contrast in one word with the person before it: P01V2, P01ses1, P01T1.
GLUED = r"(?:v|t|tp|ses|sess|session|visit|scan|run|wave)\d{1,2}|t[12]w|flair|mprage"
_WITH_VISIT = re.compile(rf"(.*\d)(?:{GLUED})", re.IGNORECASE)
_COUNTED = re.compile(_NUMBERED)
_DAY = r"(?:0[1-9]|[12]\d|3[01])"
_MONTH = r"(?:0[1-9]|1[0-2])"
_YEAR = r"(?:19|20)\d\d"
_DATES = re.compile(
    rf"(?<!\d)(?:{_YEAR}([-_.]?){_MONTH}\1{_DAY}|{_DAY}([-_.]?){_MONTH}\2{_YEAR})"
    r"(?:[-_.tT ]?\d\d[-_.:]?\d\d(?:[-_.:]?\d\d(?:\.\d+)?)?)?(?!\d)"
)
_COUNT = re.compile(r"[vmywt]\d{1,2}|d\d+|\d{1,2}|[a-z]")  # a visit, month, day or number, behind a person's name
_LIKE_A_NAME = re.compile(r"[a-z]{1,4}\d{2,}|\d{3,}")  # the form of names in a study: P01, 1003


class Word(NamedTuple):
    """A word that may name a person.

    Attributes:
        key: lower case, numbers without leading zeros: two ways of writing one name have one key.
        text: as it is written.
        leads: it begins the name of its folder or file.
    """

    key: str
    text: str
    leads: bool

    @property
    def is_numbered(self) -> bool:
        """True with a digit, as the names of people in a study have."""
        return any(letter.isdigit() for letter in self.key)

    @property
    def may_count(self) -> bool:
        """True where it may count visits or repeats of the person before it: ``v2``, ``m12``, ``3``, ``b``."""
        return _COUNT.fullmatch(self.text.casefold()) is not None

    @property
    def is_like_a_name(self) -> bool:
        """True for a word that names a person rather than a protocol, wherever it stands in a file's name."""
        return _LIKE_A_NAME.fullmatch(self.text.casefold()) is not None or (self.leads and self.is_numbered)


def words_of(text: str) -> list[Word]:
    """The words of a folder's or file's name that may name a person, in order.

    Known words go, with the number that counts them, and so do dates, and visits that are written onto a name. Letters
    of any script make words; macOS takes accents apart, which are put together again.
    """
    bare = _DATES.sub("_", unicodedata.normalize("NFKC", text))
    bare = re.sub(r"(?<=\d)\.(?=\d+(?:t|mm|iso)(?![a-z]))", "p", bare, flags=re.IGNORECASE)
    found: list[Word] = []
    counted = False
    for place, word in enumerate(filter(None, re.split(r"[\W_]+", bare))):
        low = word.casefold()
        if counted and word.isdigit():
            counted = False
            continue
        counted = _COUNTED.fullmatch(low) is not None
        if not _KNOWN.fullmatch(low):
            glued = _WITH_VISIT.fullmatch(word)
            word = word if glued is None else glued[1]
            low = word.casefold()
            found.append(Word(re.sub(r"(?<!\d)0+(?=\d)", "", low), word, place == 0))
    return found
