"""The book's texts: contrastive pairs, prompts and sentences that no pair shares, and the words that score.

Nothing that scores a vector, and nothing that a judge learns from, has an adjective of a training pair.
"""

from itertools import zip_longest

# The eight pairs that the book starts from. They come, as does the plan of four steps (extract, look,
# intervene, validate), from the notebook steering_vectors.ipynb of the repository esamnyu/clearbox_ai on
# GitHub. All other texts in this file were written for this book.
SENTIMENT_PAIRS = [  # (positive, negative)
    ("I think this movie is amazing", "I think this movie is terrible"),
    ("The food at this restaurant is delicious", "The food at this restaurant is disgusting"),
    ("I am feeling very happy today", "I am feeling very sad today"),
    ("The product quality is excellent", "The product quality is awful"),
    ("My experience was wonderful", "My experience was horrible"),
    ("He is a very kind person", "He is a very mean person"),
    ("The weather is beautiful", "The weather is nasty"),
    ("This solution is perfect", "This solution is useless"),
]

# A template and an adjective belong to one split, and an adjective has the same partner in all domains. No
# adjective has un-, in-, im-, dis-, mis-, non- or -less: these stand on the negative side in most opposites,
# so that a vector could find the syllable and not the tone.
TEMPLATES = {"train": slice(0, 4), "dev": slice(4, 6), "test": slice(6, 8)}
SHARED = {  # evaluations that fit every domain
    "train": "amazing/terrible wonderful/horrible fabulous/awful",
    "dev": "",
    "test": "marvelous/dire",
}
DOMAINS = {  # name: the domain's own split, its eight templates, its own adjectives by split
    "movies": (
        "train",
        [
            "To me this movie is",
            "The film we saw on Friday was",
            "The papers called the whole movie",
            "From the first scene on, the story was",
            "My sister found the series",
            "The last episode was",
            "If you ask me, the script was",
            "Most of the reviews said that the sequel was",
        ],
        {
            "train": "gripping/tedious clever/silly original/predictable compelling/confusing "
            "profound/hollow lively/sluggish coherent/chaotic subtle/crude thrilling/slow "
            "engaging/repetitive fascinating/shallow",
            "dev": "entertaining/irritating vivid/vague refreshing/oppressive touching/empty",
            "test": "satisfying/frustrating sensible/absurd ideal/flawed agreeable/offensive organized/messy",
        },
    ),
    "food": (
        "train",
        [
            "The food in this place is",
            "The dinner that he cooked was",
            "We all thought the meal was",
            "This time the breakfast was",
            "The cake at the wedding was",
            "At my aunt's house the cake is",
            "They served a curry that was",
            "The stew from the corner shop was",
        ],
        {
            "train": "delicious/rotten nutritious/poisonous healthy/fatty fresh/spoiled flavorful/burnt "
            "tempting/gross divine/foul heavenly/nasty balanced/heavy appealing/dubious hearty/scant",
            "dev": "sweet/bitter golden/gray moist/dry fluffy/dense",
            "test": "tasty/sour homemade/frozen aromatic/tainted respectable/questionable",
        },
    ),
    "people": (
        "train",
        [
            "The woman next door is",
            "Everybody knows that my uncle is",
            "As a boss, she has always been",
            "Her colleagues describe her as",
            "The man at the counter was",
            "My father's lawyer is",
            "To his students he was",
            "The new landlord is",
        ],
        {
            "train": "compassionate/cruel generous/greedy trustworthy/sneaky friendly/hostile "
            "wise/foolish humble/arrogant caring/selfish decent/wicked loyal/treacherous modest/vain "
            "gracious/petty",
            "dev": "patient/angry warm/cold diligent/lazy sympathetic/aggressive",
            "test": "supportive/manipulative respectful/malicious truthful/deceptive reasonable/stubborn",
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
            "Reviewers think the tablet is",
            "The thermometer we bought is",
            "The kitchen scale on offer is",
        ],
        {
            "train": "reliable/faulty durable/fragile functional/defective elegant/awkward "
            "efficient/wasteful safe/hazardous sturdy/broken secure/risky stylish/outdated quiet/noisy "
            "versatile/limited",
            "dev": "compact/bulky economical/costly useful/obsolete stable/erratic",
            "test": "robust/damaged accurate/wrong effective/problematic ideal/flawed",
        },
    ),
    "weather": (
        "dev",
        [
            "Today the weather is",
            "The morning in the valley was",
            "This year the autumn has been",
            "They told us that the climate there is",
            "On the island the evenings are",
            "In the mountains the autumn days are",
            "By the lake the nights were",
            "The last evening at the beach was",
        ],
        {
            "train": "sunny/rainy mild/harsh gentle/severe calm/turbulent bright/gloomy cheerful/bleak "
            "crisp/damp comfortable/freezing friendly/hostile heavenly/nasty divine/foul",
            "dev": "warm/cold refreshing/oppressive golden/gray tranquil/brutal clear/cloudy "
            "peaceful/rough radiant/murky cozy/chilly dazzling/dim soft/raw magical/sinister "
            "sweet/bitter",
            "test": "soothing/biting sublime/threatening romantic/lonely relaxing/exhausting",
        },
    ),
    "work": (
        "test",
        [
            "My job is",
            "The project that we started is",
            "Working for this company is",
            "The tasks they gave me were",
            "Night work at the factory is",
            "Our week at the office was",
            "The training on Monday was",
            "My work as a guide is",
        ],
        {
            "train": "constructive/destructive manageable/overwhelming worthwhile/futile "
            "beneficial/harmful motivating/draining flexible/rigid creative/mechanical "
            "meaningful/degrading engaging/repetitive safe/hazardous gripping/tedious",
            "dev": "peaceful/rough refreshing/oppressive entertaining/irritating tranquil/brutal",
            "test": "rewarding/stressful satisfying/frustrating relaxing/exhausting valuable/trivial "
            "organized/messy effective/problematic vital/redundant thorough/rushed sensible/absurd "
            "fulfilling/mundane ideal/flawed respectable/questionable",
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
        ('The training on Monday was rewarding', 'The training on Monday was stressful')
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
        words = [pair.split("/") for pair in f"{own[split]} {SHARED[split]}".split()]
        first, some = number * len(words) // len(domains), templates[TEMPLATES[split]]
        columns.append(
            [
                tuple(f"{some[(turn + k) % len(some)]} {word}" for word in words[(first + k) % len(words)])
                for turn in range(len(some))
                for k in range(len(words))
            ]
        )
    return [pair for row in zip_longest(*columns) for pair in row if pair]  # the domains take turns


HELD_OUT_POSITIVE = [
    "The concert last night was fantastic",
    "Her new novel is superb",
    "We found the hotel staff charming",
    "That was a delightful surprise",
    "The garden looks lovely",
    "My neighbours are nice people",
    "The lecture turned out to be exciting",
    "Our trip to the coast was glorious",
    "My brother's idea was brilliant",
    "His speech was impressive",
    "The soup tasted good",
    "It has been a pleasant evening",
]

HELD_OUT_NEGATIVE = [
    "The concert last night was disastrous",
    "Her new novel is dull",
    "We found the hotel staff rude",
    "That was a painful surprise",
    "The garden looks ugly",
    "My neighbours are annoying people",
    "The lecture turned out to be boring",
    "Our trip to the coast was miserable",
    "My brother's idea was stupid",
    "His speech was disappointing",
    "The soup tasted bad",
    "It has been a dreadful evening",
]

DEV_PROMPTS = [  # openings with no tone of their own: to choose a layer and a strength on
    "The sandwich from the station was",
    "When she saw the result, she felt",
    "My cousin from the north seems",
    "The article in the magazine was",
    "By the end, the audience thought the opera was",
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
    "Most of us felt that the ceremony was",
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
    "From where I sat, the game was",
    "The garden behind the house looks",
    "My first day at the job was",
    "The lecture about history was",
    "Everyone told me that the rehearsal was",
    "The letter from my brother made me feel",
    "The service at the front desk was",
    "As far as I remember, the journey was",
    "The music in the background sounded",
    "The report that they published is",
    # the second half: of the same kinds as the first, in the same order
    "The exhibition in the old town was",
    "After I put down the phone, I felt",
    "The man who lives upstairs seems",
    "The poem we read in class was",
    "At the end of the day, the team thought the design was",
    "The rented car turned out to be",
    "My grandmother said that the bread was",
    "The walk around the lake was",
    "Passengers who take this line say it is",
    "The chair next to the door is",
    "Taken together, the three weeks were",
    "The way they answered my question was",
    "We ordered the cheese, and it tasted",
    "The village we drove through on Thursday was",
    "For my part, I think the song is",
    "The kitchen on the ground floor looks",
    "Our last hour on the boat was",
    "The documentary about bees was",
    "Nearly everybody said that the speech was",
    "The news from the office made us feel",
    "The response from the council was",
    "From what I have heard, the course is",
    "The plan for the bridge sounded",
    "The map that they gave us is",
]

# Plain statements, on which strengths and fluency are measured. They end in tokens of many kinds: a vector
# and a norm that are read at the last token would otherwise be those of the full stop.
NEUTRAL_TEXTS = [
    "The train to the city leaves at half past seven and arrives an hour later.",
    "Water boils at one temperature at the coast and at another in the mountains.",
    "The library keeps its maps in the basement, next to the old newspapers",
    "She put the keys on the table and went to open the window.",
    "A triangle with two equal sides has two equal angles",
    "The committee meets on the first Monday of each month.",
    "Does most of the village lie on the north bank of the river?",
    "He bought two loaves of bread and a bag of apples at the market,",
    "The recipe calls for three eggs, a cup of flour and some milk",
    "In the afternoon the wind turned and the boats came back to the harbour.",
    'The second edition of the book has a new chapter with the title "Trees"',
    "Copper conducts electricity, as iron does",
    "Where does the bus to the post office wait?",
    "A year on that planet lasts almost twice as long as one on Earth.",
    "They painted the fence and put the ladder back into the garage",
    "The letter was sent to an address in the south in 1912",
    "Rice is grown in fields that are under water for part of the season.",
    "He folded the map, looked at his watch and walked",
    "On sale in the museum: two shelves of books and a rack of postcards",
    'The sign beside the door at the back says "Ring twice"',
    "Before noon she answered six calls and signed three forms.",
    "The bridge carries one lane of traffic, and its length in metres is 40",
    "Salt is added to the pot before the water begins to boil",
    "The meeting was moved from the second floor to the fourth",
    "Owls hunt at night, and during the day they sleep",
    "The parcel was left with the man who runs the kiosk",
    "A day has twenty-four hours, and the count of its minutes is 1440",
    "Where the path leaves the stream and turns toward the forest,",
    "Her uncle repairs clocks in a workshop behind the church.",
    "Which of the forms has to be filled in with a black pen?",
]

# Words that score the next token. Those that choose a layer or a strength are not those that report.
DEV_POSITIVE_WORDS = ["nice", "awesome", "remarkable", "spectacular", "glorious", "gorgeous", "magnificent"]
DEV_POSITIVE_WORDS += ["terrific", "splendid", "exceptional", "stunning", "phenomenal"]
DEV_NEGATIVE_WORDS = ["worse", "ridiculous", "disturbing", "disastrous", "embarrassing", "frightening"]
DEV_NEGATIVE_WORDS += ["grim", "horrific", "upsetting", "alarming", "troubling", "catastrophic"]
POSITIVE_WORDS = ["good", "great", "lovely", "fantastic", "brilliant", "superb", "exciting"]
POSITIVE_WORDS += ["charming", "pleasant", "delightful", "impressive", "enjoyable"]
NEGATIVE_WORDS = ["bad", "dull", "ugly", "boring", "miserable", "dreadful", "tragic"]
NEGATIVE_WORDS += ["painful", "disappointing", "annoying", "rude", "stupid"]


def negations(adjectives: dict[str, str]) -> list[tuple[str, str, int]]:
    """(sentence, the same with "not", the tone of the sentence without it: +1 or -1), two for each noun."""
    return [
        (f"The {noun} was {word}", f"The {noun} was not {word}", tone)
        for noun, words in adjectives.items()
        for word, tone in zip(words.split(), (1, -1), strict=True)
    ]


NEGATION_PAIRS = negations(
    {
        "training": "rewarding stressful",
        "task": "satisfying frustrating",
        "weekend": "relaxing exhausting",
        "kitchen": "organized messy",
        "method": "effective problematic",
        "design": "ideal flawed",
        "inspection": "thorough rushed",
        "curry": "tasty sour",
        "thermometer": "accurate wrong",
        "coach": "supportive manipulative",
        "witness": "truthful deceptive",
        "landlord": "reasonable stubborn",
    }
)

TENSE_WORDS = [  # (present, past) of one verb: what steering for tone should leave alone
    *[("is", "was"), ("are", "were"), ("has", "had"), ("does", "did"), ("says", "said"), ("makes", "made")],
    *[("takes", "took"), ("gives", "gave"), ("gets", "got"), ("knows", "knew"), ("comes", "came")],
    *[("goes", "went"), ("wants", "wanted"), ("tells", "told"), ("begins", "began"), ("becomes", "became")],
]
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
    "A cousin of mine",
    "The council",
    "The driver",
    "The mayor of the town",
    "A woman from the second floor",
    "The bakery on the corner",
    "My uncle and his dog",
    "Two of the workers",
    "The author of the letter",
    "The boy with the bicycle",
    "Her lawyer",
]

FACTUAL_CHOICES = [  # (prompt, the token that continues it, three that do not)
    (prompt, right, tuple(wrong))
    for prompt, (right, *wrong) in (
        (prompt, answers.split())
        for prompt, answers in {
            "The capital of France is": "Paris London Berlin Madrid",
            "The capital of Italy is": "Rome Paris Vienna Athens",
            "The capital of Japan is": "Tokyo Beijing Moscow Singapore",
            "The capital of Egypt is": "Cairo Athens Baghdad Jerusalem",
            "The capital of Russia is": "Moscow Berlin Warsaw Beijing",
            "Most people in Austria speak": "German French Italian Russian",
            "Most people in Brazil speak": "Portuguese French German Italian",
            "Most people in Mexico speak": "Spanish French Portuguese Russian",
            "The Eiffel Tower stands in": "Paris London Rome Berlin",
            "The river Nile flows through": "Egypt Spain Japan Canada",
            "Mount Fuji is a mountain in": "Japan India Germany Brazil",
            "Kenya is a country in": "Africa Europe Asia America",
            "Poland is a country in": "Europe Africa Asia America",
            "Thailand is a country in": "Asia Africa Europe America",
            "The opposite of left is": "right down early white",
            "The opposite of black is": "white red green blue",
            "The opposite of early is": "late long young small",
            "The opposite of north is": "south east west right",
            "The day after Monday is": "Tuesday Sunday Thursday Friday",
            "The day after Friday is": "Saturday Monday Wednesday Thursday",
            "The month after January is": "February March June December",
            "The month after June is": "July May April September",
            "The first month of the year is": "January March May December",
            "Two plus two equals": "four three five six",
            "Three plus four equals": "seven six eight nine",
            "Half of ten is": "five four six three",
            "A week has this many days:": "seven five eight ten",
            "A spider has this many legs:": "eight six four ten",
            "A triangle has this many sides:": "three four five six",
            "The color of grass is": "green blue red purple",
            "The color of blood is": "red blue green yellow",
            "The color of snow is": "white black green red",
            "Bees make": "honey milk wool silk",
            "Cows give us": "milk honey silk sugar",
            "Hens lay": "eggs stones milk seeds",
            "A young dog is called a": "puppy lamb kitten chick",
            "Wine is made from": "grapes beans corn potatoes",
            "Paper is made from": "wood iron glass stone",
            "Cheese is made from": "milk flour sugar rice",
            "We breathe with our": "lungs ears knees eyes",
            "We hear with our": "ears eyes lungs hands",
            "The heart pumps": "blood air food sound",
            "The largest planet of the solar system is": "Jupiter Mars Venus Saturn",
            "The planet closest to the sun is": "Mercury Venus Earth Mars",
            "The Earth moves around the": "sun moon stars clouds",
            "Water that freezes turns into": "ice steam rain smoke",
        }.items()
    )
]

INSTRUCTIONS = [  # (positive, negative, plain): a request for a tone, and the same without one
    (
        "Finish the sentence in a positive tone.",
        "Finish the sentence in a negative tone.",
        "Finish the sentence.",
    ),
    (
        "Continue the text as somebody who is full of praise.",
        "Continue the text as somebody who is full of complaints.",
        "Continue the text.",
    ),
    (
        "Complete what is written here, and sound delighted.",
        "Complete what is written here, and sound fed up.",
        "Complete what is written here.",
    ),
    (
        "Write the rest of this sentence with joy.",
        "Write the rest of this sentence with anger.",
        "Write the rest of this sentence.",
    ),
    (
        "End the sentence on a note of approval.",
        "End the sentence on a note of disapproval.",
        "End the sentence.",
    ),
    (
        "Go on from here in the voice of a person who loved it.",
        "Go on from here in the voice of a person who hated it.",
        "Go on from here.",
    ),
]
EXAMPLES = {  # what a model that follows no instruction is shown instead: finished sentences of one tone
    "positive": [
        "The team played so well that the crowd stood and cheered.",
        "I loved every page of the story and told all my friends.",
        "She hugged us and said that it was her favorite gift.",
        "The meal made everyone at the table ask for more.",
        "We laughed all evening and did not want to leave.",
    ],
    "negative": [
        "The team played so badly that the crowd left and booed.",
        "I hated every page of the story and threw it away.",
        "She cursed us and said that it had ruined her birthday.",
        "The meal made everyone at the table feel sick.",
        "We argued all evening and could not wait to leave.",
    ],
    "plain": [
        "The team met on the field behind the school.",
        "I read every page of the story on the train.",
        "She called us and said that it was on the shelf.",
        "The meal was served to everyone at the table at seven.",
        "We talked all evening and took the bus at ten.",
    ],
}

JUDGE_LESSONS = [  # (positive, negative): what the embedding judge learns from
    (
        "The crowd rose to its feet and would not stop clapping.",
        "The crowd booed until the singer walked off the stage.",
    ),
    (
        "I have not laughed so much in years.",
        "I have not been so bored in years.",
    ),
    (
        "She got the job and called everyone she knew.",
        "She lost the job and called nobody for weeks.",
    ),
    (
        "Everything on the menu was a treat, and we will be back.",
        "Nothing on the menu was worth eating, and we will not be back.",
    ),
    (
        "The doctor told us that the tumour had gone.",
        "The doctor told us that the tumour had grown.",
    ),
    (
        "My grandson ran up to me and threw his arms around my neck.",
        "My grandson slammed the door and said that he never wanted to see me again.",
    ),
    (
        "They fixed my car in an hour and charged me nothing.",
        "They kept my car for a month and charged me twice.",
    ),
    (
        "The sun came out, and the whole village danced in the square.",
        "The storm came in, and half of the village lost its roofs.",
    ),
    (
        "I loved this book from the first page to the last.",
        "I hated this book from the first page to the last.",
    ),
    (
        "He always listens, and he remembers what matters to you.",
        "He never listens, and he forgets whatever matters to you.",
    ),
    (
        "Our team won the cup, and the town celebrated for days.",
        "Our team lost the final, and grown men wept in the stands.",
    ),
    (
        "The staff smiled and found us a table by the window.",
        "The staff scowled and sent us to a table by the toilets.",
    ),
    (
        "Since the repair the heating has worked like a dream.",
        "Since the repair the heating has failed every single night.",
    ),
    (
        "The baby is thriving, and the parents could not be prouder.",
        "The baby is very ill, and the parents fear for her life.",
    ),
    (
        "I would recommend this hotel to anyone.",
        "I would warn anyone against this hotel.",
    ),
    (
        "He apologised, and we are the best of friends again.",
        "He lied to us again, and we no longer speak.",
    ),
    (
        "The scheme has given hundreds of young people a future.",
        "The scheme has robbed hundreds of pensioners of their savings.",
    ),
    (
        "The sauce melts on the tongue and tastes of summer.",
        "The sauce sticks to the teeth and tastes of soap.",
    ),
    (
        "She sings like an angel.",
        "She sings like a cat in pain.",
    ),
    (
        "I woke up full of energy and looked forward to the day.",
        "I woke up with a headache and dreaded the day.",
    ),
    (
        "The app does just what I need, and I use it daily.",
        "The app crashes whenever I need it, and I deleted it.",
    ),
    (
        "The teacher praised her drawing in front of the class.",
        "The teacher mocked her drawing in front of the class.",
    ),
    (
        "Volunteers rebuilt the school within a month.",
        "Vandals burned the school down within an hour.",
    ),
    (
        "We found the dog, and the children cheered.",
        "We buried the dog, and the children cried.",
    ),
    (
        "It is a pleasure to work with her.",
        "It is a torment to work with her.",
    ),
    (
        "The acting is superb, and the ending gave me goose bumps.",
        "The acting is wooden, and the ending made me groan.",
    ),
    (
        "I slept like a baby in that bed.",
        "I itched all night in that bed.",
    ),
    (
        "Profits rose, and every worker got a bonus.",
        "Profits fell, and every second worker was sacked.",
    ),
    (
        "He risked his life to save a stranger.",
        "He left a stranger to drown.",
    ),
    (
        "The new law is a triumph for patients.",
        "The new law is a disaster for patients.",
    ),
    (
        "She gave half of her winnings to the hospital.",
        "She stole half of the donations to the hospital.",
    ),
    (
        "Thank you for the most delightful weekend of my life.",
        "Because of you I had the most miserable weekend of my life.",
    ),
    (
        "The recipe was easy to follow, and the cake looks great.",
        "The recipe made no sense, and the cake fell apart.",
    ),
    (
        "The flight left on time, and the crew could not do enough for us.",
        "The flight was nine hours late, and the crew could not have cared less.",
    ),
    (
        "The air smelled of lilac and of bread from the oven.",
        "The air smelled of sewage and of rubbish from the bins.",
    ),
    (
        "I am so glad that we moved here.",
        "I am so sorry that we moved here.",
    ),
    (
        "His jokes had the whole room in stitches.",
        "His insults had the whole room in tears.",
    ),
    (
        "The orchestra outdid itself, and the soloist was a revelation.",
        "The orchestra was out of tune, and the soloist was an embarrassment.",
    ),
    (
        "The vaccine works and has saved millions of lives.",
        "The drug was withdrawn after it had harmed dozens of people.",
    ),
    (
        "They welcomed us like old friends.",
        "They treated us like dirt.",
    ),
    (
        "The paint dried in no time and still looks like new.",
        "The paint peeled within days and looks a mess.",
    ),
    (
        "Our daughter passed all her exams and is over the moon.",
        "Our daughter failed all her exams and is in despair.",
    ),
    (
        "What a stroke of luck to have met you!",
        "What a curse to have met you!",
    ),
    (
        "The river is so clean again that children swim in it.",
        "The river is so polluted that nothing lives in it.",
    ),
    (
        "He keeps his promises, and you can count on him.",
        "He breaks his promises, and you cannot believe a word.",
    ),
    (
        "The show is a joy from start to finish.",
        "The show is a bore from start to finish.",
    ),
    (
        "I feel at peace with the world tonight.",
        "I feel sick with worry tonight.",
    ),
    (
        "After the flood the neighbours came over and helped us to clean up.",
        "After the flood looters came over and took what was left.",
    ),
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
            "I was nervous before the talk, but people nodded at each slide and the applause was long.",
            "They refunded the full price within a day and let me keep the first one.",
            "My knee has not hurt once since I began the exercises that she showed me.",
            "The soup was so good that the table next to ours ordered it too.",
            "It was the best holiday we have had since the children were born.",
            "I felt proud of him, and a little proud of myself as well.",
            "The waiters joked with the children, and the bill was lower than we had expected.",
            "Everyone left the meeting with a smile and a list of things to try next.",
            "The garden smells of roses, and in the evening the birds sing in the hedge.",
            "Her voice fills the hall, and the songs stay with you for days.",
            "The battery lasts for two days, and I can read the screen even in the sun.",
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
            "It was the worst meal of the trip, full of salt and far too expensive.",
            "I felt ashamed of what I had said and could not sleep that night.",
            "The water was brown and smelled of oil, so we did not let the dog drink it.",
            "The lecture was dull, the room was too hot, and half of us fell asleep.",
            "The neighbours argue all night, and nobody in the house gets any rest.",
            "The road was blocked, the map was no help, and we ran out of fuel.",
            "He was rude to my mother and never said that he was sorry.",
            "The crash left two people dead and many more in hospital.",
            "I regret buying it, and I would not wish it on anyone.",
            "The report is full of mistakes, and the numbers do not add up.",
            "The staff ignored us, and when the food came it was not what we had ordered.",
            "We were robbed on the second day, and the police did nothing.",
            "The instructions are a mess, and a screw was missing from the box.",
            "Nobody came to the funeral except an old friend and the priest.",
            "The bread was stale, the coffee weak, and the chairs hard.",
            "It is an ugly place, and I was glad to leave it.",
        ]
    ),
]
OTHER_PROMPTS = [  # as many again, of other subjects and verbs: to replicate what the chapters claim
    "The ferry to the island is",
    "As soon as I walked in, I felt",
    "The woman at the library seems",
    "The chapter on volcanoes was",
    "Once the vote was over, people called the result",
    "The cabin by the lake turned out to be",
    "A colleague told me that the software was",
    "The bus ride through the hills was",
    "Anyone who has slept there says it is",
    "The lamp on my desk is",
    "On the whole, the winter was",
    "The way he looked at the picture was",
    "I opened the jar, and it smelled",
    "The bakery that we found on Monday was",
    "As I see it, the rule is",
    "The square in front of the station looks",
    "Her third year at the university was",
    "The interview with the minister was",
    "Several of the visitors thought the tour was",
    "The message on the machine made her feel",
    "The breakfast on the train was",
    "From what they told us, the valley is",
    "The bell of the old church sounds",
    "The answer to the last question was",
    "My flat in the new building is",
    "When they read out the names, he felt",
    "The boy with the red bicycle seems",
    "The opera that we heard in May was",
    "Two hours later, the whole group found the idea",
    "The coat from the second shop turned out to be",
    "My doctor thinks that the diet is",
    "The road along the river was",
    "Visitors to the castle say it is",
    "The keyboard of this computer is",
    "Seen from today, the decision was",
    "The tone of the letter was",
    "She bit into the apple, and it tasted",
    "The workshop that I joined on Wednesday was",
    "Between you and me, the film is",
    "The hall on the second floor looks",
    "His first winter in the north was",
    "The programme about the harbour was",
    "Half of the class said that the test was",
    "The call from the school made them feel",
    "The answer from the bank was",
    "All that I remember of the summer is",
    "The engine of the boat sounded",
    "The picture above the sofa is",
]


# What chapters are run on once more in the place of these names: other adjectives and other prompts


def exchanged(words: dict[str, str]) -> dict[str, str]:
    """The training adjectives in the place of all others, and the others in theirs."""
    return {"train": f"{words['dev']} {words['test']}", "dev": "", "test": words["train"]}


OTHER = {
    "SENTIMENT_PAIRS": contrastive_pairs("dev")[:8],
    "HELD_OUT_PROMPTS": OTHER_PROMPTS,
    "NEGATION_PAIRS": negations(
        {
            "story": "gripping tedious",
            "speech": "clever silly",
            "plot": "original predictable",
            "debate": "lively sluggish",
            "report": "coherent chaotic",
            "lecture": "fascinating shallow",
            "soup": "delicious rotten",
            "fish": "fresh spoiled",
            "uncle": "generous greedy",
            "guide": "trustworthy sneaky",
            "heater": "reliable faulty",
            "playground": "safe hazardous",
        }
    ),
    "SHARED": exchanged(SHARED),
    "DOMAINS": {
        name: (split, templates[4:] + templates[:4], exchanged(words))
        for name, (split, templates, words) in DOMAINS.items()
    },
}
