"""Does the home still hold anything of a person? Every byte and every decoded cell of it is looked at.

**What is looked for.** ``Needles``: raw ids and pseudonyms as texts, surrogate keys as numbers. Ids differ in how much
a place must say before it counts, by the bits that such a text carries (``needles.grade``):

- *anywhere* (48 bits and more: e-mail addresses, UUIDs, pseudonyms, keys of 60 bits) is looked for in all bytes and
  cells, in every spelling of ``needles.patterns``, however it is escaped.
- *whole* (26 to 48 bits: a number of eight to fourteen digits, an invoice like C536379) counts where it stands alone,
  with nothing of a word or number beside it, and no name beside it says that it is a thing: a product, a price, a
  size, a time.
- *weak* (less: a customer number of five digits, a name of letters, a date) counts only where it stands alone and
  something says that it is a person's: the column or the field of JSON it fills, or the word before it
  (``user_id=12345``, ``customer 12345``). ``labels.py`` lists these words; a shop's own are given to ``scan``.

So product 12345 and quantity 12345 are no find for the customer 12345.

Of more than 20,000 ids and keys (some hundred persons at once) only the spellings that programs write are looked for:
as they are, in any case of letters, escaped, in Base64, and keys as digits and in decoded cells.

**What cannot be told.** A weak id that no name explains: "row 12345 failed" in a log, the third field of a line
without a header, a cell of a workbook. Ids that are not whole or weak are not looked for in Base64, UTF-16 or hex when
they carry less than 48 bits. Several persons with one id (GA4's ``ga_session_id`` is a second of the clock) are one
needle. Encrypted archives, damaged files, and compressed pieces inside a file of no known format are not opened: the
first two are reported as unread; a Find that is ``unread`` means that nothing is proven for that place. Ids cut into
pieces, hashed anew, or written with another alphabet's digits are not found. Rows deleted from a DuckDB file may
remain in it, compressed.

**What is a place.** Every file, hidden or not, its name, the names of its folders, its extended attributes, and the
target of a link as text. Links are never followed: inside the home their target is visited by its own name, and one
that leads outside is reported as unread. A file of several names is looked into once and reported by each. Nothing
in the home is changed or locked: what must be opened for writing is copied to a private temporary folder first.
"""

from behavior_assets.privacy.scanner.needles import Needles
from behavior_assets.privacy.scanner.report import Find
from behavior_assets.privacy.scanner.scan import scan

__all__ = ["Find", "Needles", "scan"]
