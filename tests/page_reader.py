"""What a test reads of an HTML page."""

from html.parser import HTMLParser

VOID = {"meta", "wbr"}


class Page(HTMLParser):
    """Checks that tags are balanced; keeps the texts and the attributes."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts, self.attributes = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"] and self.open[-1:] != ["script"]:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(self.texts)
