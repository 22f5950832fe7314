"""Words that probe tasks ask about, as they are spelt."""

BUILTINS = """abs all any bool bytes callable chr dict dir enumerate filter float format frozenset getattr hasattr hash
    int isinstance issubclass iter len list map max min next object open ord print property range repr reversed round
    set setattr sorted str sum super tuple type zip"""

ARTICLES = "the a an"
PRONOUNS = "i you he she it we they me him her us them myself himself herself itself ourselves themselves"
POSSESSIVES = "my your his her its our their mine yours hers ours theirs"
DEMONSTRATIVES = "this that these those"
PREPOSITIONS = "of in to for with on at from by about into through over between against during under without within"
CONJUNCTIONS = "and or but because although though while if unless whereas nor"
AUXILIARIES = "am is are was were be been being have has had do does did"
MODALS = "can could will would shall should may might must"
NEGATIONS = "not no never none nothing nobody nor neither cannot"
QUESTION_WORDS = "who whom whose what which where when why how"
NUMBER_WORDS = """one two three four five six seven eight nine ten eleven twelve thirteen fifteen twenty thirty forty
    fifty sixty seventy eighty ninety hundred thousand million billion"""
ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth last"
DATES = """January February March April May June July August September October November December Monday Tuesday
    Wednesday Thursday Friday Saturday Sunday"""
DIRECTIONS = "north south east west northern southern eastern western northeast northwest southeast southwest"
COUNTRIES = """Afghanistan Algeria Angola Argentina Australia Austria Bangladesh Belgium Bolivia Brazil Britain Bulgaria
    Cambodia Cameroon Canada Chad Chile China Colombia Congo Croatia Cuba Cyprus Denmark Ecuador Egypt England Estonia
    Ethiopia Finland France Georgia Germany Ghana Greece Guinea Haiti Hungary Iceland India Indonesia Iran Iraq Ireland
    Israel Italy Jamaica Japan Jordan Kenya Korea Kuwait Latvia Lebanon Liberia Libya Lithuania Madagascar Malaysia
    Mali Malta Mexico Mongolia Morocco Mozambique Namibia Nepal Netherlands Nicaragua Niger Nigeria Norway Oman
    Pakistan Panama Paraguay Peru Philippines Poland Portugal Romania Russia Rwanda Scotland Senegal Serbia Singapore
    Slovakia Slovenia Somalia Spain Sudan Sweden Switzerland Syria Taiwan Tanzania Thailand Tunisia Turkey Uganda
    Ukraine Uruguay Venezuela Vietnam Wales Yemen Zambia Zimbabwe"""
