"""A made-up corpus of what leads to a person, in ten locales: no address, number or id of anybody is in it.

Numbers carry right check digits where their kind has any, and are written in the ways in which people write them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """Something personal: what it is, of which locale, and as it is written."""

    locale: str
    kind: str
    text: str


# ? and ! stand for a letter, large or small, # for a digit, ~ for the letters that end a British number.
_NAMES = {
    "en_US": ("james", "o'neil", "smith"), "en_GB": ("olivia", "wright", "jones"),
    "de_DE": ("jürgen", "müller", "weiß"), "fr_FR": ("chloé", "lefèvre", "d'arc"),
    "es_ES": ("íñigo", "núñez", "garcía"), "it_IT": ("niccolò", "rossi", "bianchi"),
    "nl_NL": ("sanne", "devries", "jansen"), "pl_PL": ("łukasz", "wójcik", "nowak"),
    "sv_SE": ("åsa", "öberg", "lind"), "pt_BR": ("joão", "conceição", "silva"),
}  # fmt: skip
LOCALES = tuple(_NAMES)
_PHONES = {
    "en_US": ("(###) ###-####", "+1 ### ### ####", "###-###-####", "###.###.####"),
    "en_GB": ("0#### ######", "+44 #### ######", "07### ### ###", "020 #### ####"),
    "de_DE": ("0### #######", "+49 ### #######", "0###/#######", "0049-###-########"),
    "fr_FR": ("0# ## ## ## ##", "+33 # ## ## ## ##", "0#.##.##.##.##", "0#########"),
    "es_ES": ("6## ## ## ##", "+34 ### ### ###", "9########", "6##-###-###"),
    "it_IT": ("3## #######", "+39 3## ### ####", "06 ########", "3##.###.####"),
    "nl_NL": ("06-########", "+31 6 ########", "06 ## ## ## ##", "0## ### ####"),
    "pl_PL": ("### ### ###", "+48 ### ### ###", "##-###-##-##", "#########"),
    "sv_SE": ("07#-### ## ##", "+46 7# ### ## ##", "08-### ### ##", "07########"),
    "pt_BR": ("(##) 9####-####", "+55 ## 9####-####", "## 9####.####", "##9########"),
}  # fmt: skip
_IBANS = {
    "en_US": "GB????" + 14 * "#", "en_GB": "GB????" + 14 * "#", "de_DE": "DE" + 18 * "#", "fr_FR": "FR" + 23 * "#",
    "es_ES": "ES" + 20 * "#", "it_IT": "IT?" + 22 * "#", "nl_NL": "NL????" + 10 * "#", "pl_PL": "PL" + 24 * "#",
    "sv_SE": "SE" + 20 * "#", "pt_BR": "BR" + 23 * "#" + "??",
}  # fmt: skip
_IDS: dict[str, tuple[str, ...]] = {
    "en_US": ("###-##-####", "### ## ####", "#########"),
    "en_GB": ("?? ## ## ## ~", "??######~", "!!-##-##-##-~"),
    "de_DE": ("## ### ### ###", "###########"),
    "fr_FR": ("# ## ## ## ### ### ##", "###############", "1 85 05 2A ### ### ##"),
    "es_ES": ("########?", "########-?", "X#######?"),
    "it_IT": ("??????##?##?###?", "!!!!!!##!##!###!", "??? ??? ##?## ?###?"),
    "nl_NL": ("#########", "####.##.###"), "pl_PL": ("###########", "######-#####"),
    "sv_SE": ("######-####", "19######-####", "######+####"), "pt_BR": ("###.###.###-##", "###########"),
}  # fmt: skip


def corpus(seed: int = 7, each: int = 40) -> Iterator[Sample]:
    """``each`` samples of every kind in every locale."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    for locale in LOCALES:
        for kind, make in _MAKERS.items():
            for _ in range(each):
                yield Sample(locale, kind, make(locale, dice))


def plain(kind: str, locale: str, dice: random.Random) -> str:
    """One sample of a kind, an address with its sign and an account number without blanks."""
    if kind == "e-mail":
        return f"{_NAMES[locale][0]}.{dice.choice(_NAMES[locale][1:])}@example.org"
    text = _MAKERS[kind](locale, dice)
    return text.replace(" ", "").upper() if kind == "IBAN" else text


def _filled(form: str, dice: random.Random) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz"
    told = {"#": lambda: str(dice.randrange(10)), "?": lambda: dice.choice(letters).upper(),
            "!": lambda: dice.choice(letters), "~": lambda: dice.choice("ABCD")}  # fmt: skip
    return "".join(told[c]() if c in told else c for c in form)


def _email(locale: str, dice: random.Random) -> str:
    first, *last = _NAMES[locale]
    user = dice.choice((f"{first}.{dice.choice(last)}", f"{first}{dice.randrange(100)}", f"{first}+shop",
                        f"{first[0]}_{dice.choice(last)}"))  # fmt: skip
    host = dice.choice(("example.com", "mail.example.org", f"example.{locale[-2:].lower()}"))
    return dice.choice((f"{user}@{host}",) * 7 + (f"{user}%40{host}", f"{user} (at) {host}", f"{user} at {host}"))


def _card(_locale: str, dice: random.Random) -> str:
    digits = [dice.choice((4, 5)), *(dice.randrange(10) for _ in range(14))]
    doubled = [sum(divmod(d * 2, 10)) if n % 2 == 0 else d for n, d in enumerate(digits)]
    text = "".join(map(str, digits)) + str(-sum(doubled) % 10)
    groups = [text[n : n + 4] for n in range(0, 16, 4)]
    return dice.choice((text, " ".join(groups), "-".join(groups)))


def _iban(locale: str, dice: random.Random) -> str:
    form = _IBANS[locale]
    country, body = form[:2], _filled(form[2:], dice).upper()
    number = "".join(str(int(c, 36)) for c in body + country + "00")
    text = f"{country}{98 - int(number) % 97:02d}{body}"
    return dice.choice((text, " ".join(text[n : n + 4] for n in range(0, len(text), 4)), text.lower()))


_MAKERS: dict[str, Callable[[str, random.Random], str]] = {
    "e-mail": _email, "phone": lambda place, d: _filled(d.choice(_PHONES[place]), d), "card": _card, "IBAN": _iban,
    "national id": lambda place, d: _filled(d.choice(_IDS[place]), d),
}  # fmt: skip
KINDS = tuple(_MAKERS)


HARMLESS = (
    "red running shoes 42", "iphone 14 pro 128 gb", "samsung galaxy s23", "lego 75192", "samsung tv 55 4k 2024",
    "büro stuhl", "chaussures d'été", "lámpara de pie", "wd-40 400 ml", "usb-c 3.1 hub", "jeans 32/34", "barbie 2023",
    "windows 11", "gift under 20", "ikea kallax 4x4", "bosch gsr 12v-15", "size 10.5", "15-inch laptop 16 gb",
    "kołdra 140x200", "playstation 5", "rtx 4070 ti", "hp 301 xl", "aa batteries 24", "pneu 205 55 r16", "n95 mask",
)  # fmt: skip
"""Searches that lead to nobody: what is taken away of these is lost for nothing."""
HARMLESS_LABELS = (
    "summer-sale", "20240623_newsletter", "black friday 2024", "brand|search|de", "pmax_shoes_0424", "(not set)",
    "retargeting-30d", "12345678", "uk-generic-exact", "q4/2023 launch", "google / cpc", "affiliate_4711", "50% off",
)  # fmt: skip
"""Campaigns of the same sort."""
HARMLESS_PATHS = (
    "/c/shoes", "/p/12345", "/2024/06/23/summer", "/iphone-14-pro-128gb", "/de/büro/stuhl", "/category/a-z", "/cart",
    "/blog/10-best-gifts", "/p/wd-40-400-ml", "/search", "/kundenservice/rückgabe", "/size-42", "/en-gb/",
)  # fmt: skip
"""Paths of the same sort."""
