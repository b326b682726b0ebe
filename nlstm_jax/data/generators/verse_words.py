"""The words and rules of the English verse that `verse.py` generates, as plain data.

Nouns and verbs are plural, so that any noun agrees with any verb. Each list of words goes from frequent to rare. Every
category of words inside a line has words of one and of two syllables, because the metres need both.
"""

from typing import NamedTuple


class Word(NamedTuple):
    """A word of a vocabulary.

    Attributes:
        text: The word.
        category: The category that the rules refer to it by.
        syllables: The number of syllables.
        weight: The frequency relative to the other words, any positive number.
    """

    text: str
    category: str
    syllables: int
    weight: float = 1.0


KINDS = {
    "adjective": ("warm", "cold", "loud", "soft", "old", "young"),
    "noun": ("sky", "fire", "earth", "water", "bird", "beast", "folk", "plant"),
    "action": ("keep", "lose", "see", "speak"),
    "motion": ("rise", "fall", "move", "stay"),
    "place": ("high", "low"),
    "one": ("article", "single"),
    "many": ("article", "plural"),
}
"""The categories of words that each kind of position in a line accepts."""

INNER_WORDS = {
    "warm": "red bright warm · golden crimson amber scarlet burning",
    "cold": "white cold pale blue gray · silver frozen azure icy bitter",
    "loud": "wild proud fierce swift · restless roaring stormy eager fearless",
    "soft": "still soft calm mild slow · gentle quiet silent tender peaceful",
    "old": "old worn lost bare · ancient weary faded broken ruined",
    "young": "young new green fresh · early merry hopeful budding newborn",
    "sky": "stars clouds winds skies storms moons · heavens shadows planets rainbows comets tempests",
    "fire": "flames lamps sparks hearths coals · candles lanterns embers ashes torches beacons",
    "earth": "hills stones fields cliffs sands · mountains valleys meadows gardens deserts pastures",
    "water": "streams waves lakes tides springs · rivers oceans fountains harbors currents ripples",
    "bird": "doves larks hawks owls geese · swallows sparrows ravens robins falcons seagulls",
    "beast": "wolves deer hounds bears hares · horses foxes lions rabbits oxen",
    "folk": "friends kings queens bards monks · children lovers soldiers strangers sailors pilgrims",
    "plant": "leaves pines ferns reeds vines · blossoms willows roses lilies branches petals",
    "keep": "hold keep guard save bind · carry gather shelter cherish cover",
    "lose": "leave lose break shun spend · forget scatter forsake destroy squander",
    "see": "see know watch seek find · follow behold admire discern notice",
    "speak": "call praise name sing bless · whisper answer summon promise murmur",
    "rise": "rise climb soar leap wake · arise ascend awake flutter",
    "fall": "fall fade sink drift droop · descend tumble vanish slumber",
    "move": "run turn roam dance stray · wander travel journey scurry",
    "stay": "wait stand rest pause dwell · linger remain listen tarry settle",
    "high": "on by near past · above upon over toward across",
    "low": "in through from down · beneath below under within behind",
    "article": "the our some my your their · any yonder",
    "single": "this that each one · every either neither",
    "plural": "these those all few · many other countless",
}
"""The words inside a line by category: before the dot those of one syllable, behind it those of two."""

RHYMES = {
    "-ight": "night light sight flight height",
    "-ee": "sea tree bee key plea",
    "-ay": "day way bay spray clay",
    "-one": "stone bone throne tone",
    "-ain": "rain plain grain chain lane",
    "-eep": "sleep deep sheep steep",
    "-ow": "snow glow flow woe foe",
    "-ing": "spring king ring wing string",
    "-art": "heart art part chart",
    "-oom": "bloom gloom room tomb loom",
    "-ore": "shore door floor oar lore",
    "-ew": "dew view hue yew",
    "-eam": "dream stream gleam beam",
}
"""The words that end a line, all of one syllable, by the family whose words rhyme with each other."""

PARTNERS = {
    "warm": "cold",
    "loud": "soft",
    "old": "young",
    "sky": "fire",
    "earth": "water",
    "bird": "beast",
    "folk": "plant",
    "keep": "lose",
    "see": "speak",
    "rise": "fall",
    "move": "stay",
    "high": "low",
    "article": "article",
    "single": "single",
    "plural": "plural",
}
"""Pairs of categories that answer each other in the closing couplet, in either direction."""

THEMES = {
    "winter": "skies storms tempests shadows hearths coals embers candles wolves hares ravens pines cold white pale "
    "gray frozen icy bitter bare still silent weary snow sleep night gloom room wait rest shelter slumber fade",
    "spring": "winds rainbows sparks meadows gardens pastures streams fountains springs larks doves swallows robins "
    "rabbits deer children lovers blossoms roses lilies leaves petals warm green fresh young budding merry sing dance "
    "gather praise flutter bloom tree bee rain spring day",
    "voyage": "clouds beacons lamps cliffs sands waves tides oceans harbors currents ripples seagulls geese sailors "
    "pilgrims strangers reeds blue azure wild roaring stormy restless sink drift wander journey follow sea bay spray "
    "shore oar foe flow deep chart",
    "night": "stars moons planets comets heavens lanterns owls foxes bards monks silver quiet soft gentle whisper "
    "murmur watch vanish linger listen light dream gleam beam glow dew height sight",
    "court": "flames torches hawks falcons horses hounds lions kings queens soldiers crimson scarlet golden red proud "
    "fierce fearless ruined guard bind destroy forsake summon stand king ring throne stone door floor bone tomb chain",
}
"""The words that a poem of each theme prefers."""

AFFINITIES = {
    ("warm", "fire"): 4.0,
    ("cold", "water"): 3.0,
    ("loud", "beast"): 3.0,
    ("soft", "bird"): 2.0,
    ("old", "earth"): 4.0,
    ("young", "plant"): 4.0,
    ("sky", "rise"): 3.0,
    ("fire", "fall"): 4.0,
    ("water", "move"): 4.0,
    ("plant", "stay"): 3.0,
    ("bird", "speak"): 4.0,
    ("beast", "see"): 3.0,
    ("folk", "lose"): 3.0,
    ("earth", "keep"): 4.0,
    ("rise", "high"): 4.0,
    ("fall", "low"): 4.0,
}
"""The factor on the weight of a word of the second category right behind a word of the first."""

CARRY = "adjective noun action one"
REST = "noun motion place one"
BEAR = "many noun action adjective"
LIE = "place adjective noun one"

SYNTAXES = (
    (CARRY, REST, BEAR, BEAR),
    (REST, CARRY, LIE, LIE),
    (LIE, BEAR, CARRY, CARRY),
    (BEAR, LIE, REST, REST),
)
"""The kinds of the words before the rhyme, line by line. The last two lines have the same syntax."""

METRES = (
    ("2121", "2121", "2121", "2121"),
    ("1212", "1212", "1212", "1212"),
    ("2121", "1212", "2121", "1212"),
    ("1212", "2121", "1212", "2121"),
    ("2211", "1122", "2211", "1122"),
    ("1221", "2112", "1221", "2112"),
)
"""The syllables of the words before the rhyme, line by line."""

SCHEMES = ("AABA", "ABCB", "ABAB", "ABBA")

WORDS = tuple(
    Word(text, category, syllables, 1 / rank)
    for category, lists in (INNER_WORDS | RHYMES).items()
    for syllables, texts in enumerate(lists.split("·"), start=1)
    for rank, text in enumerate(texts.split(), start=1)
)
"""All words. The n-th word of a list has weight 1/n, as in Zipf's law."""
