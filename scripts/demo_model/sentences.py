"""English sentences for the demo model, drawn from a grammar and word lists of our own.

The texts are released with the project under its licence (Apache-2.0); no corpus is used.
`sentences(seed)` yields the same stream on every machine. Numbers are written as words.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator


def words(text: str) -> list[str]:
    """Split a comma-separated list."""
    return [w.strip() for w in text.replace("\n", " ").split(",") if w.strip()]


UNITS = words("zero, one, two, three, four, five, six, seven, eight, nine")
TEENS = words(
    "ten, eleven, twelve, thirteen, fourteen, fifteen, sixteen, seventeen, eighteen, nineteen"
)
TENS = words("twenty, thirty, forty, fifty, sixty, seventy, eighty, ninety")
ORDINALS = words(
    """first, second, third, fourth, fifth, sixth, seventh, eighth, ninth, tenth, eleventh, twelfth,
    thirteenth, fourteenth, fifteenth, sixteenth, seventeenth, eighteenth, nineteenth, twentieth,
    twenty first, twenty second, twenty third, twenty fourth, twenty fifth, thirtieth"""
)
MONTHS = words(
    """January, February, March, April, May, June, July, August, September, October, November,
    December"""
)
DAYS = words("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday")
NAMES = words(
    """Alice, Anna, Ben, Carol, Charles, Clara, Daniel, David, Emma, Frank, George, Grace, Hannah,
    Helen, Henry, Jack, James, Jane, Julia, Karen, Kevin, Laura, Linda, Lucas, Maria, Mark, Martin,
    Mary, Michael, Nina, Oliver, Paul, Peter, Rachel, Robert, Rose, Sam, Sarah, Simon, Sophie,
    Steven, Susan, Thomas, Tom, Victor, William"""
)
PLACES = words(
    """London, Paris, Berlin, Rome, Madrid, Vienna, Boston, Chicago, Denver, Dublin, Oslo, Tokyo,
    Sydney, Lisbon, Prague, Texas, Canada, Mexico, Brazil, India, Japan, Kenya, Egypt, Norway"""
)
ROOMS = words(
    """kitchen, bedroom, bathroom, living room, garage, office, hallway, basement, garden, attic,
    library, workshop, dining room"""
)
DEVICES = words(
    """light, lamp, heater, fan, radio, television, oven, dishwasher, printer, camera, alarm,
    speaker, washing machine, computer, air conditioner"""
)
SPOTS = words(
    """station, airport, hospital, market, museum, harbor, bridge, church, school, theater, hotel,
    bakery, pharmacy, bank, beach, park, stadium, village, castle, post office, restaurant,
    bus stop, library, swimming pool, city hall"""
)
THINGS = words(
    """book, key, letter, bottle, basket, blanket, bicycle, umbrella, suitcase, ticket, phone,
    camera, hammer, ladder, mirror, pencil, picture, pillow, plate, ring, scarf, shirt, shoe, table,
    wallet, watch, window, chair, guitar, map, candle, bucket, envelope, backpack, jacket, notebook,
    knife, spoon, clock, box"""
)
FOODS = words(
    """apples, bananas, bread, butter, cheese, chicken, chocolate, coffee, cookies, eggs, fish,
    flour, garlic, grapes, honey, lemons, milk, mushrooms, noodles, olive oil, onions, oranges,
    pasta, peaches, pepper, potatoes, rice, salad, salt, soup, strawberries, sugar, tea, tomatoes,
    water, yogurt"""
)
ANIMALS = words(
    """bear, bird, cat, cow, deer, dog, duck, eagle, elephant, fox, frog, goat, horse, lion, monkey,
    mouse, owl, parrot, pig, rabbit, sheep, snake, spider, squirrel, tiger, turtle, whale, wolf"""
)
ADJECTIVES = words(
    """old, new, small, large, heavy, light, broken, beautiful, strange, quiet, noisy, empty, full,
    dirty, clean, cheap, expensive, warm, cold, wooden, yellow, green, blue, red, white, black,
    brown, purple, golden, young, tired, hungry, brave, clever, gentle, lazy, happy, angry, shy,
    curious, famous, narrow, deep, tall, soft, sharp, bright, dark, simple, careful"""
)
PEOPLE = words(
    """doctor, teacher, farmer, driver, nurse, painter, sailor, singer, soldier, student, waiter,
    writer, baker, carpenter, engineer, lawyer, musician, neighbor, pilot, captain, manager,
    mother, father, brother, sister, uncle, aunt, grandmother, cousin, friend, child, woman, man"""
)
PAST = words(
    """found, lost, bought, sold, carried, dropped, painted, repaired, borrowed, forgot, opened,
    closed, cleaned, measured, ordered, returned, stole, washed, hid, noticed, photographed,
    wrapped, examined, described, kept, threw away, picked up, looked at"""
)
MOVES = words(
    """walked, ran, drove, traveled, hurried, moved, returned, climbed, jumped, swam, flew, rode,
    wandered, marched"""
)
ADVERBS = words(
    """slowly, quickly, quietly, suddenly, carefully, often, never, always, again, early, late,
    almost, finally, together, alone, gladly, usually, sometimes"""
)
TIMES = words(
    """this morning, this afternoon, this evening, tonight, tomorrow, yesterday, last night,
    last week, next week, next month, last year, after lunch, before dinner, at noon, at midnight,
    every day, on the weekend, in the summer, in the winter, in the spring, in the autumn"""
)
WEATHER = words(
    """sunny, cloudy, rainy, windy, foggy, stormy, snowy, freezing, warm, cold, hot, dry, wet,
    pleasant, cool"""
)
TOPICS = words(
    """history, music, science, politics, the weather, football, cooking, mathematics, poetry,
    the news, gardening, travel, medicine, painting, chess, the economy, space, languages, physics,
    the future, the budget, safety, the project, energy, the plan"""
)
COLORS = words("red, green, blue, yellow, white, orange, purple, pink, warm white")
SONGS = words("jazz, classical music, rock music, the news, folk songs, a lullaby, an audio book")
FEELINGS = words(
    """surprised, proud, nervous, disappointed, excited, worried, grateful, bored, lonely, calm,
    confused, satisfied, jealous, sorry, certain, afraid"""
)
REASONS = words(
    """because the road was closed, because it was raining, when the bell rang, after the meeting,
    while we were waiting, before the sun came up, although nobody asked, until the music stopped,
    since the shop was open, without saying a word, in front of everyone, just in time,
    as soon as possible, for the first time, if you do not mind, with a smile"""
)
FIXED = [
    "How do you do?", "Nice to meet you.", "Thank you very much.", "You are welcome.",
    "Excuse me, where is the exit?", "Could you repeat that, please?", "I do not understand.",
    "Please speak more slowly.", "What time is it?", "How much does it cost?",
    "I would like a cup of coffee, please.", "Have a nice day.", "See you later.",
    "Good morning, everyone.", "Good night, and sleep well.", "That sounds like a good idea.",
    "I am sorry to hear that.", "Never mind, it does not matter.", "Can you help me with this?",
    "Let us take a short break.", "I will be right back.", "Where did you put my glasses?",
    "The early bird catches the worm.", "Practice makes perfect.", "Better late than never.",
    "All that glitters is not gold.", "Actions speak louder than words.", "Time flies.",
    "The quick brown fox jumps over the lazy dog.", "She sells sea shells by the sea shore.",
    "Yes, of course.", "No, thank you.", "I think so.", "Please hold the line.",
    "Is anybody there?", "It is not my fault.", "We should leave now.", "Wait for me!",
    "Turn it off.", "Stop.", "Help!", "Be careful!", "Well done!", "Happy birthday!",
]  # fmt: skip

TEMPLATES = """
Turn {onoff} the {device} in the {room}.
Please turn {onoff} the {device}.
Switch {onoff} the {room} {device}, please.
Set the {device} in the {room} to {color}.
Dim the {room} {device} to {n100} percent.
Set the temperature in the {room} to {n40} degrees.
Set an alarm for {clock}.
Wake me up at {clock} on {day}.
Set a timer for {n60} minutes.
Remind me to call {name} {time}.
Remind me to buy {food} and {food}.
Add {food}, {food} and {food} to the shopping list.
Play {song} in the {room}.
Turn the volume {updown}.
Send a message to {name}.
Tell {name} that I will be {n60} minutes late.
Call {name} and {name}.
What is the weather in {place} {time}?
Will it be {weather} in {place} on {day}?
It will be {weather} and {weather} {time}.
It is {n40} degrees and {weather} in {place}.
How far is it from {place} to {place}?
It is about {number} miles from {place} to {place}.
Where is the nearest {spot}?
The {spot} is next to the {spot}.
The {spot} opens at {clock} and closes at {clock}.
Go straight to the {spot} and turn {leftright}.
The train to {place} leaves at {clock} from platform {n20}.
The next flight to {place} is on {day} at {clock}.
My flight number is {digits}.
My phone number is {digits}, {digits}.
The code is {digits}.
Room {digits} is on the {ordinal} floor.
The answer is {number}.
{Number} plus {number} is {number}.
We need {number} chairs and {number} tables.
It costs {number} dollars and {n100} cents.
About {number} people live in the village.
The meeting is on {day}, {month} {ordinal}.
Today is {day}, the {ordinal} of {month}.
{name} was born on {month} {ordinal}.
{name} was born in {year}.
The {spot} was built in {year}.
The meeting with {name} is at {clock} {time}.
{name} and {name} are meeting at the {spot}.
{name} lives in {place} with {poss} {person}.
{name} works as a {person} in {place}.
{name} {past} the {adj} {thing} {time}.
The {person} {past} a {adj} {thing} near the {spot}.
The {adj} {person} {past} {poss} {thing} {reason}.
{subj} {past} the {thing} and the {thing}.
{subj} {adv} {past} the {adj} {thing}.
{subj} {move} to the {spot} {time}.
{subj} {move} {adv} from the {spot} to the {spot}.
{subj} {move} to {place} {reason}.
The {adj} {animal} {move} over the {adj} bridge.
A {animal} and a {animal} {move} across the field.
The {animal} is {adj}, but the {animal} is {adj}.
There is a {adj} {animal} in the {room}.
There are {number} {thing}s under the {thing}.
I saw a {animal} behind the {spot} {time}.
Have you ever seen a {adj} {animal}?
Did {name} really {do} the {thing}?
Can you {do} the {thing} for me?
Please {do} the {adj} {thing} {time}.
Do not {do} my {thing}.
Why did the {person} {do} the {thing}?
Who {past} my {adj} {thing}?
Where is my {adj} {thing}?
Your {thing} is on the {adj} {thing}.
The {thing} in the {room} is {adj} and {adj}.
The {thing} is too {adj} for the {room}.
This {thing} is more {longadj} than that one.
I would like to buy a {adj} {thing}.
I would like some {food} and a glass of {drink}.
We had {food} and {food} for dinner.
Mix the {food} with {number} grams of {food}.
{name} does not like {food} with {food}.
We talked about {topic} and {topic}.
The {person} gave a talk about {topic} in {place}.
I read a {adj} book about {topic} {time}.
{name} has been learning about {topic} for {n20} years.
My {person} is {feeling} about {topic}.
{subj} felt {feeling} {reason}.
{name} is {feeling}, and so am I.
I think that {name} is right about {topic}.
If it is {weather} {time}, we will stay in {place}.
When the {person} arrived, the {spot} was {adj}.
The {person} said that the {spot} was closed {reason}.
Nobody knows where the {person} {past} the {thing}.
It takes {n60} minutes to get to the {spot}.
Only {n20} of the {number} {thing}s were {adj}.
Take the {ordinal} street on the {leftright}.
{adj_cap} water runs under the {adj} bridge.
The sky was {color} and the sea was {adj}.
""".strip().splitlines()

DO = words(
    """find, open, close, clean, repair, move, paint, borrow, bring, carry, check, hide, measure,
    return, sell, touch, wash, wrap, throw away, pick up, look for, forget"""
)


def below_hundred(n: int) -> str:
    """Words for 0 to 99."""
    if n < 10:
        return UNITS[n]
    if n < 20:
        return TEENS[n - 10]
    tens, unit = divmod(n, 10)
    return TENS[tens - 2] + (f" {UNITS[unit]}" if unit else "")


def spell(n: int) -> str:
    """Words for 0 to 9999."""
    if n >= 1000:
        rest = n % 1000
        return f"{UNITS[n // 1000]} thousand" + (f" {spell(rest)}" if rest else "")
    if n >= 100:
        rest = n % 100
        return f"{UNITS[n // 100]} hundred" + (f" {below_hundred(rest)}" if rest else "")
    return below_hundred(n)


def clock(rng: random.Random) -> str:
    """A time of day as people say it."""
    hour = below_hundred(rng.randint(1, 12))
    minute = rng.choice([5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, rng.randint(11, 59)])
    near = rng.choice(["five", "ten", "twenty", "a quarter"])
    small = below_hundred(minute) if minute >= 10 else f"oh {below_hundred(minute)}"
    return rng.choice(
        [
            f"{hour} o'clock",
            f"half past {hour}",
            f"{near} past {hour}",
            f"{near} to {hour}",
            f"{hour} {small}",
            f"{hour} in the {rng.choice(['morning', 'evening'])}",
        ]
    )


def number(rng: random.Random) -> str:
    """A number, small ones more often."""
    return spell(rng.choice([rng.randint(2, 20), rng.randint(2, 99), rng.randint(100, 9999)]))


def year(rng: random.Random) -> str:
    """A year as people say it."""
    century, rest = rng.choice(["eighteen", "nineteen", "twenty"]), rng.randint(10, 99)
    return f"{century} {below_hundred(rest)}"


def fill(slot: str, rng: random.Random) -> str:
    """One random filler of a template slot."""
    lists = {
        "device": DEVICES, "room": ROOMS, "color": COLORS, "day": DAYS, "month": MONTHS,
        "name": NAMES, "time": TIMES, "food": FOODS, "song": SONGS, "place": PLACES,
        "weather": WEATHER, "spot": SPOTS, "ordinal": ORDINALS, "person": PEOPLE, "past": PAST,
        "adj": ADJECTIVES, "thing": THINGS, "move": MOVES, "adv": ADVERBS, "animal": ANIMALS,
        "reason": REASONS, "topic": TOPICS, "feeling": FEELINGS, "do": DO,
        "onoff": ["on", "off"], "updown": ["up", "down"], "leftright": ["left", "right"],
        "poss": ["his", "her", "their"], "subj": ["I", "You", "He", "She", "We", "They"],
        "drink": ["water", "milk", "tea", "juice", "wine", "lemonade"],
        "longadj": ["beautiful", "expensive", "famous", "careful", "comfortable", "interesting"],
    }  # fmt: skip
    if slot in lists:
        return rng.choice(lists[slot])
    if slot == "adj_cap":
        return rng.choice(ADJECTIVES).capitalize()
    if slot == "Number":
        return number(rng).capitalize()
    if slot.startswith("n") and slot[1:].isdigit():
        return below_hundred(rng.randint(2, int(slot[1:]) - 1))
    if slot == "digits":
        return " ".join(rng.choice(UNITS) for _ in range(rng.randint(3, 5)))
    return {"clock": clock, "number": number, "year": year}[slot](rng)


def sentence(rng: random.Random) -> str:
    """One sentence with its capital and punctuation."""
    if rng.random() < 0.06:
        return rng.choice(FIXED)
    text = re.sub(r"\{(\w+)\}", lambda m: fill(m[1], rng), rng.choice(TEMPLATES))
    text = re.sub(r"\b([Aa]) (?=[aeiouAEIOU])(?!uni|use|one)", r"\1n ", text)
    return text[0].upper() + text[1:]


def random_phrase(rng: random.Random) -> str:
    """Unrelated words in a row, so that the model listens instead of only guessing."""
    lists = [THINGS, ADJECTIVES, ANIMALS, FOODS, PEOPLE, PAST, ADVERBS, NAMES, SPOTS, FEELINGS, DO]
    text = " ".join(rng.choice(rng.choice(lists)) for _ in range(rng.randint(2, 7)))
    return text[0].upper() + text[1:] + "."


def sentences(seed: str, unrelated: float = 0.12) -> Iterator[str]:
    """An endless stream of sentences; equal seeds give equal streams.

    unrelated: the share of phrases of unrelated words.
    """
    rng = random.Random(seed)
    while True:
        yield random_phrase(rng) if rng.random() < unrelated else sentence(rng)


def normalise(text: str) -> str:
    """Lower-case letters, apostrophes and single spaces: the form that WER and CTC see."""
    return " ".join(re.sub(r"[^a-z' ]+", " ", text.lower()).split())


if __name__ == "__main__":
    stream = sentences("show")
    for _ in range(20):
        print(next(stream))
