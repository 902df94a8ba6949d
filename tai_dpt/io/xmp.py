"""XMP sidecars: the keywords of an image in a file beside it, as photo managers read them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from xml.sax.saxutils import escape

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# dc:subject alone: all managers read it, and no character of a name parts it into a hierarchy
_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="tai-dpt">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">
   <dc:subject>
    <rdf:Bag>
{items}    </rdf:Bag>
   </dc:subject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""


def xmp(keywords: Iterable[str]) -> bytes:
    """An XMP packet with keywords (``dc:subject``)."""
    items = (f"     <rdf:li>{escape(_NOT_XML.sub(' ', word))}</rdf:li>\n" for word in keywords)
    return _XMP.format(items="".join(items)).encode()


def sidecar_of(image: str, *, by_stem: bool) -> str:
    """Where an image's sidecar lies: ``a.jpg.xmp``, or ``a.xmp`` by its stem.

    >>> sidecar_of("holiday/a.jpg", by_stem=False), sidecar_of("holiday/a.jpg", by_stem=True)
    ('holiday/a.jpg.xmp', 'holiday/a.xmp')
    """
    return f"{os.path.splitext(image)[0] if by_stem else image}.xmp"
