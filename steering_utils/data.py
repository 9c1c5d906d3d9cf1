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

HELD_OUT_PROMPTS = [  # openings with no tone of their own, none of them from a pair
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
]

POSITIVE_WORDS = ["good", "great", "nice", "lovely", "fantastic", "brilliant", "superb", "fun", "best"]
POSITIVE_WORDS += ["charming", "pleasant", "delightful", "impressive", "enjoyable", "outstanding"]
NEGATIVE_WORDS = ["bad", "poor", "dull", "ugly", "boring", "worst", "miserable", "dreadful", "weak"]
NEGATIVE_WORDS += ["painful", "unpleasant", "disappointing", "annoying", "rude", "stupid"]
