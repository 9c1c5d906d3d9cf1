"""The book's texts: contrastive pairs, held-out sentences and prompts, and the words that score them.

Nothing that scores a vector (held-out texts, scoring words) shares an adjective with the pairs.
"""

SENTIMENT_PAIRS = [  # (positive, negative): the eight pairs that the book starts from
    ("I think this movie is amazing", "I think this movie is terrible"),
    ("The food at this restaurant is delicious", "The food at this restaurant is disgusting"),
    ("I am feeling very happy today", "I am feeling very sad today"),
    ("The product quality is excellent", "The product quality is awful"),
    ("My experience was wonderful", "My experience was horrible"),
    ("He is a very kind person", "He is a very mean person"),
    ("The weather is beautiful", "The weather is nasty"),
    ("This solution is perfect", "This solution is useless"),
]

# Each template and each adjective belongs to one split, an adjective to the same one in all domains.
TEMPLATES = {"train": slice(0, 4), "dev": slice(4, 5), "test": slice(5, 6)}
SHARED = {  # evaluations that fit every domain
    "train": "amazing/terrible wonderful/horrible excellent/awful perfect/useless beautiful/nasty "
    "incredible/disastrous superior/inferior splendid/unacceptable",
    "dev": "remarkable/worthless marvelous/dire",
    "test": "terrific/grim exceptional/hopeless",
}
DOMAINS = {  # name: the domain's own split, its six templates, its own adjectives by split
    "movies": (
        "train",
        [
            "To me this movie is",
            "The film we saw on Friday was",
            "Critics called the whole movie",
            "From the first scene on, the story was",
            "My sister found the film",
            "If you ask me, the acting was",
        ],
        {
            "train": "gripping/tedious thrilling/pointless clever/predictable memorable/shallow "
            "fascinating/messy witty/silly compelling/confusing moving/sluggish",
            "dev": "entertaining/empty original/slow",
            "test": "exciting/irritating powerful/ridiculous",
        },
    ),
    "food": (
        "train",
        [
            "The food in this place is",
            "The dinner that he cooked was",
            "We all thought the meal was",
            "Every dish on the table looked",
            "For once the breakfast was",
            "They served a cake that was",
        ],
        {
            "train": "delicious/rotten healthy/toxic fresh/spoiled tender/tough juicy/dry creamy/burnt "
            "crisp/oily moist/raw",
            "dev": "sweet/bitter nutritious/contaminated",
            "test": "tasty/sour hearty/salty",
        },
    ),
    "people": (
        "train",
        [
            "The woman next door is",
            "Everybody knows that my uncle is",
            "As a friend, she has always been",
            "Her colleagues describe her as",
            "The man at the counter was",
            "To his students he was",
        ],
        {
            "train": "kind/mean decent/dishonest generous/greedy polite/cruel loyal/corrupt wise/foolish "
            "brave/selfish humble/arrogant",
            "dev": "caring/careless patient/angry",
            "test": "sincere/fake helpful/jealous",
        },
    ),
    "products": (
        "train",
        [
            "This product is",
            "The laptop that I ordered is",
            "After a month the machine still seems",
            "Customers say that the tool is",
            "The printer in our office is",
            "For its price the camera is",
        ],
        {
            "train": "reliable/unreliable durable/fragile useful/defective elegant/awkward "
            "efficient/inefficient practical/faulty comfortable/uncomfortable secure/unsafe",
            "dev": "sturdy/broken convenient/inconvenient",
            "test": "robust/obsolete accurate/inaccurate",
        },
    ),
    "weather": (
        "dev",
        [
            "Today the weather is",
            "The morning in the valley was",
            "This year the autumn has been",
            "They told us that the climate there is",
            "By noon the day had turned",
            "On the island the evening was",
        ],
        {
            "train": "sunny/rainy mild/harsh warm/freezing clear/gloomy calm/fierce bright/bleak "
            "gentle/severe refreshing/oppressive",
            "dev": "peaceful/icy cool/humid",
            "test": "fine/foul tranquil/brutal",
        },
    ),
    "work": (
        "test",
        [
            "My job is",
            "The project that we started is",
            "Working for this company is",
            "The tasks they gave me were",
            "Night work at the station is",
            "The training on Monday was",
        ],
        {
            "train": "rewarding/stressful meaningful/meaningless productive/chaotic valuable/wasted "
            "interesting/repetitive profitable/costly fair/unfair flexible/rigid",
            "dev": "safe/dangerous creative/mechanical",
            "test": "stimulating/frustrating satisfying/exhausting",
        },
    ),
}


def contrastive_pairs(split="train", domains=None) -> list[tuple[str, str]]:
    """The (positive, negative) prompts of a split, which differ in their last token only.

    Nothing is shared between splits: no template, no adjective and, with `domains` left out, no domain.
    Neighbours have different adjectives, so that the first n pairs have many.

    Args:
        split: "train", "dev" or "test": which templates and adjectives.
        domains: names from DOMAINS; left out, those whose own split it is. To ask whether a vector
            carries over to another domain, name that domain.

    Raises:
        ValueError: no such split or domain.

    Example:
        >>> contrastive_pairs("test")[0]
        ('The training on Monday was terrific', 'The training on Monday was grim')
    """
    if split not in TEMPLATES:
        raise ValueError(f"no split {split!r}: choose one of {', '.join(TEMPLATES)}")
    if domains is None:
        domains = [name for name, (own, *_) in DOMAINS.items() if own == split]
    domains = [domains] if isinstance(domains, str) else list(domains)
    if unknown := [name for name in domains if name not in DOMAINS]:
        raise ValueError(f"no domain {', '.join(map(repr, unknown))}: choose from {', '.join(DOMAINS)}")
    columns = []
    for number, name in enumerate(domains):
        _, templates, own = DOMAINS[name]
        words = [pair.split("/") for pair in f"{SHARED[split]} {own[split]}".split()]
        first, some = number * len(words) // len(domains), templates[TEMPLATES[split]]
        columns.append(
            [
                tuple(f"{some[(turn + k) % len(some)]} {word}" for word in words[(first + k) % len(words)])
                for turn in range(len(some))
                for k in range(len(words))
            ]
        )
    return [pair for row in zip(*columns, strict=True) for pair in row]  # the domains take turns


HELD_OUT_POSITIVE = [
    "The concert last night was fantastic",
    "Her new novel is brilliant",
    "We found the hotel staff friendly",
    "That was a lovely surprise",
    "The garden looks magnificent",
    "My neighbours are charming people",
    "The lecture turned out to be fun",
    "Our trip to the coast was delightful",
    "The new phone feels great",
    "His speech was impressive",
    "The soup tasted good",
    "It has been a pleasant evening",
]

HELD_OUT_NEGATIVE = [
    "The concert last night was dreadful",
    "Her new novel is dull",
    "We found the hotel staff rude",
    "That was a painful surprise",
    "The garden looks ugly",
    "My neighbours are hostile people",
    "The lecture turned out to be boring",
    "Our trip to the coast was miserable",
    "The new phone feels cheap",
    "His speech was disappointing",
    "The soup tasted bad",
    "It has been an unpleasant evening",
]

DEV_PROMPTS = [  # openings with no tone of their own: to choose a layer and a strength on
    "The sandwich from the station was",
    "When she saw the result, she felt",
    "My cousin from the north seems",
    "The article in the magazine was",
    "By the end, the audience thought the play was",
    "The apartment on the third floor turned out to be",
    "Our guide told us that the path was",
    "The flight to the capital was",
    "Those who have worked there say it is",
    "The bicycle in the shed is",
    "All in all, the summer was",
    "The tone of his message was",
    "I looked at the painting, and it was",
    "The market we passed on Tuesday was",
    "In my opinion, the match was",
    "The river behind the mill looks",
    "My second week in the city was",
    "The talk about the budget was",
    "Most of us felt that the wedding was",
    "The phone call from my aunt made me feel",
    "The coffee in the canteen was",
    "What he says about the school is",
    "The voice on the radio sounded",
    "The answer that we received is",
]

HELD_OUT_PROMPTS = [  # the test prompts: openings with no tone of their own, none of them from a pair
    "The concert last night was",
    "When I opened the letter, I felt",
    "My new neighbour seems",
    "The book I finished yesterday was",
    "After the meeting, everyone thought the plan was",
    "The hotel room turned out to be",
    "Our teacher said that the essay was",
    "The trip to the coast was",
    "People who visit this town say it is",
    "The new phone I bought is",
    "Looking back, the whole year was",
    "The way she spoke to us was",
    "I tried the soup, and it tasted",
    "The museum we visited on Sunday was",
    "To be honest, the game was",
    "The garden behind the house looks",
    "My first day at the job was",
    "The lecture about history was",
    "Everyone agreed that the party was",
    "The letter from my brother made me feel",
    "The service at the front desk was",
    "What I remember of the journey is",
    "The music in the background sounded",
    "The report that they published is",
]

NEUTRAL_TEXTS = [  # plain statements: what strengths and fluency are measured on
    "The train to the city leaves at half past seven and arrives an hour later.",
    "Water boils at a lower temperature in the mountains than at the coast.",
    "The library keeps its maps in the basement, next to the old newspapers.",
    "She put the keys on the table and went to open the window.",
    "A triangle with two equal sides has two equal angles.",
    "The committee meets on the first Monday of each month.",
    "Most of the village lies on the north bank of the river.",
    "He bought two loaves of bread and a bag of apples at the market.",
    "The recipe calls for three eggs, a cup of flour and some milk.",
    "In the afternoon the wind turned and the boats came back to the harbour.",
    "The second edition of the book has a new chapter on trees.",
    "Copper conducts electricity better than iron does.",
    "The bus stops in front of the post office every twenty minutes.",
    "A year on that planet lasts almost twice as long as one on Earth.",
    "They painted the fence and put the ladder back into the garage.",
    "The letter was written in 1912 and sent to an address in the south.",
    "Rice is grown in fields that are under water for part of the season.",
    "He folded the map, looked at his watch and walked on.",
    "The museum has two floors and a small shop near the exit.",
    "The word comes from an old term for a narrow street.",
    "Before noon she answered six calls and signed three forms.",
    "The bridge is forty metres long and carries one lane of traffic.",
    "Salt is added to the pot before the water begins to boil.",
    "The meeting was moved from the second floor to the fourth.",
    "Owls hunt at night and sleep during the day.",
    "The parcel was left with the man who runs the kiosk.",
    "An hour has sixty minutes, and a minute has sixty seconds.",
    "The path follows the stream and then turns toward the forest.",
    "Her uncle repairs clocks in a workshop behind the church.",
    "The form has to be filled in with a black pen.",
]

POSITIVE_WORDS = ["good", "great", "nice", "lovely", "fantastic", "brilliant", "superb", "fun", "best"]
POSITIVE_WORDS += ["charming", "pleasant", "delightful", "impressive", "enjoyable", "outstanding"]
NEGATIVE_WORDS = ["bad", "poor", "dull", "ugly", "boring", "worst", "miserable", "dreadful", "weak"]
NEGATIVE_WORDS += ["painful", "unpleasant", "disappointing", "annoying", "rude", "stupid"]

NEGATION_PAIRS = [  # (sentence, the same with "not", the tone of the sentence without it: +1 or -1)
    (f"The {noun} was {word}", f"The {noun} was not {word}", tone)
    for noun, adjectives in {
        "acting": "exciting irritating",
        "scenery": "powerful ridiculous",
        "cake": "tasty sour",
        "stew": "hearty salty",
        "nurse": "sincere fake",
        "clerk": "helpful jealous",
        "camera": "robust obsolete",
        "scale": "accurate inaccurate",
        "evening": "tranquil brutal",
        "wine": "fine foul",
        "training": "stimulating frustrating",
        "task": "satisfying exhausting",
    }.items()
    for word, tone in zip(adjectives.split(), (1, -1), strict=True)
]

TENSE_PAIRS = [  # (present, past): a contrast that has nothing to do with tone
    (f"{subject} {present}", f"{subject} {past}")
    for subject, verbs in {
        "Every morning the old man": "walks/walked works/worked sings/sang",
        "On Sundays her brother": "plays/played cleans/cleaned writes/wrote",
        "At the corner a boy": "looks/looked waits/waited sits/sat",
        "In the evening the shop": "opens/opened starts/started stops/stopped",
        "Twice a month my aunt": "calls/called asks/asked travels/traveled",
        "Near the gate the dog": "turns/turned comes/came runs/ran",
        "After school the girl": "helps/helped talks/talked watches/watched",
        "In that house a painter": "lives/lived listens/listened goes/went",
    }.items()
    for present, past in (pair.split("/") for pair in verbs.split())
]
PRESENT_WORDS = ["is", "are", "has", "does", "says", "makes", "takes", "gives", "gets", "knows", "thinks"]
PAST_WORDS = ["was", "were", "had", "did", "said", "made", "took", "gave", "got", "knew", "thought"]
TENSE_PROMPTS = [  # openings after which a verb comes, in either tense
    "The teacher",
    "My sister",
    "The people in the street",
    "A man with a hat",
    "The captain of the ship",
    "Our neighbours",
    "The student in the first row",
    "The company",
    "His grandmother",
    "The woman at the desk",
    "The children",
    "The owner of the house",
    "The farmer and his son",
    "A friend of mine",
    "The council",
    "The driver",
]

FACTUAL_PROMPTS = [  # (prompt, the token that continues it)
    *(
        (f"The capital of {country} is", city)
        for country, city in {
            "France": "Paris",
            "Italy": "Rome",
            "Germany": "Berlin",
            "Spain": "Madrid",
            "Japan": "Tokyo",
            "Russia": "Moscow",
            "England": "London",
            "Egypt": "Cairo",
            "China": "Beijing",
            "Austria": "Vienna",
            "Cuba": "Havana",
            "Greece": "Athens",
            "Ireland": "Dublin",
        }.items()
    ),
    ("The opposite of hot is", "cold"),
    ("The opposite of left is", "right"),
    ("The opposite of black is", "white"),
    ("The opposite of early is", "late"),
    ("The day after Monday is", "Tuesday"),
    ("The day after Friday is", "Saturday"),
    ("The month after January is", "February"),
    ("Two plus two equals", "four"),
    ("A week has this many days:", "seven"),
    ("The color of the sky on a clear day is", "blue"),
    ("The color of grass is", "green"),
    ("The color of blood is", "red"),
    ("Bees make", "honey"),
    ("Cows give us", "milk"),
    ("The largest planet of the solar system is", "Jupiter"),
    ("The Earth revolves around the", "Sun"),
    ("The frozen form of water is called", "ice"),
]

LABELLED_TEXTS = [  # (text, +1 or -1): to judge the judges; in many of them the tone lies in what is told
    *(
        (text, 1)
        for text in [
            "The band played two encores, and people were still dancing when the lights came on.",
            "She read the first chapter on the train and missed her stop because of it.",
            "He thanked every one of us by name and brought cake for the whole office.",
            "After three weeks of practice my daughter swam the length of the pool on her own.",
            "The nurse stayed an hour after her shift so that he would not be alone.",
            "We laughed until our sides hurt, and then we asked for the story again.",
            "The room had a view of the sea, and someone had put flowers on the table.",
            "I was nervous before the talk, but the questions were kind and the applause was long.",
            "They refunded the full price within a day and let me keep the first one.",
            "My knee has not hurt once since I began the exercises that she showed me.",
            "The soup was so good that the table next to ours ordered it too.",
            "It was the best holiday we have had since the children were born.",
            "I felt proud of him, and a little proud of myself as well.",
            "The service was quick and friendly, and the bill was lower than we had expected.",
            "Everyone left the meeting with a smile and a clear idea of what to do next.",
            "The garden smells of roses, and in the evening the birds sing in the hedge.",
            "Her voice is warm and clear, and the songs stay with you for days.",
            "The battery lasts for two days, and the screen is bright even in the sun.",
            "I would watch it again tomorrow, and I have already told my friends to go.",
            "He forgave me at once, and we have been close friends ever since.",
            "The teacher found something to praise in each essay, and the class worked harder for it.",
            "It was a lovely evening with good food, old friends and nowhere else to be.",
            "The doctor said that the treatment had worked and that I could go home.",
            "They offered her the job on the spot, with more money than she had asked for.",
            "The village is charming, and people greet you as if you had always lived there.",
            "The museum was a delight, and we stayed until they closed the doors.",
            "The new bridge has cut my way to work by half an hour.",
            "We won in the last minute, and the whole street was singing until midnight.",
            "The plan is simple, fair to everyone, and likely to succeed.",
            "I love the way she explains things, with patience and a good example each time.",
        ]
    ),
    *(
        (text, -1)
        for text in [
            "We left before the dessert came and have never gone back.",
            "The phone stopped working after a week, and nobody answered my letters.",
            "Half of the audience had walked out by the end of the first act.",
            "He shouted at the waiter and then blamed the rest of us for the scene.",
            "I found hair in the soup, and the cook only shrugged when I showed him.",
            "She cried all the way home and would not say what had happened.",
            "The roof leaked on the first night, and there were mice in the kitchen.",
            "They lost our luggage and told us that it was our own fault.",
            "He promised to come, and we waited two hours in the rain for nothing.",
            "After the operation she could not use her left hand any more.",
            "The plot made no sense, and I looked at my watch every five minutes.",
            "My boss took the credit for my work and cut my hours the same week.",
            "The company closed the plant and sent four hundred people home without pay.",
            "Somebody broke into the car and stole the presents for the children.",
            "It was the worst meal of the trip, cold, salty and far too expensive.",
            "I felt ashamed of what I had said and could not sleep that night.",
            "The water was brown and smelled of oil, so we did not let the dog drink it.",
            "The lecture was dull, the room was too hot, and half of us fell asleep.",
            "The neighbours argue all night, and nobody in the house gets any rest.",
            "The road was blocked, the map was wrong, and we ran out of fuel.",
            "He was rude to my mother and never said that he was sorry.",
            "The crash left two people dead and many more in hospital.",
            "I regret buying it, and I would not wish it on anyone.",
            "The report is full of mistakes, and the numbers do not add up.",
            "The staff ignored us, and when the food came it was not what we had ordered.",
            "We were robbed on the second day, and the police did nothing.",
            "The instructions are a mess, and a screw was missing from the box.",
            "Nobody came to the funeral except an old friend and the priest.",
            "The bread was stale, the coffee weak, and the chairs hard.",
            "It is a sad, ugly place, and I was glad to leave it.",
        ]
    ),
]
