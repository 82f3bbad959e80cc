"""The wikis whose changes are replayed: how often each changes, and what its people write."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

_CODES = """
en de fr es ja ru it zh pt pl fa ar uk nl he sv id vi tr cs ko fi hu no ca hi th el ro bn sr da bg hr sk lt eu et sl ta
uz az hy ka ms ur kk te be ml simple gl lv mk sq cy af mr is tl bs tg nn arz ckb pa kn ce br sh my ast ga la jv tt ky ba
lb sw km ne gu si eo oc fy als ku ps am or as sd so yi mn war ceb min zh-yue nds an sco io ia vo scn su pnb azb lmo cv
mg ht bar hsb csb dsb sah os av udm mhr myv kv koi krc lez xal tyv bxr lo bo dz ug tk ab za gan wuu hak cdo nan diq zea
li vls nap pms vec lij fur sc co rm frp wa pcd gv kw gd ang fo se kl ki ln kg lg rw rn ny sn st tn ts xh zu ss ve yo ig
ha ff bm wo tw ee ak aa om ti gn ay qu nah chr iu cr nv haw mi sm to fj ty bi tpi ho na pih ch jam srn pap ext lad rmy
stq pfl ksh szl rue crh gag kaa ace bjn bug map-bms mad nia ban ilo pag pam cbk-zam
"""
_LANGUAGES = _CODES.split()
"""Codes of Wikipedias, the busiest first."""

_SISTERS = {"wiktionary": 45, "wikisource": 35, "wikiquote": 25, "wikibooks": 20, "wikivoyage": 15, "wikinews": 10}
"""{project: in how many of the languages}."""

_COMMONS = {"metawiki": "meta", "specieswiki": "species", "incubatorwiki": "incubator", "outreachwiki": "outreach"}

_BUSIEST = {
    "commonswiki": ("commons.wikimedia.org", "en", 0.27),
    "wikidatawiki": ("www.wikidata.org", "en", 0.24),
    "enwiki": ("en.wikipedia.org", "en", 0.16),
}
"""{wiki: (domain, language, share of all changes)}; the others share what is left, each the less the later it comes."""

_WORDS = {
    "ar": "تصنيف:مقالات عن التاريخ|إضافة مصدر وتعديل الصياغة|محمد العربي",
    "bn": "বাংলাদেশের ইতিহাস ও সংস্কৃতি|তথ্যসূত্র যোগ করা হলো|রহিম উদ্দিন",
    "cs": "Seznam kulturních památek|doplnění zdrojů a oprava překlepů|Jiří Dvořák",
    "de": "Liste der Baudenkmäler|Einzelnachweise ergänzt, Tippfehler behoben|Jürgen Müßig",
    "el": "Κατάλογος αρχαίων πόλεων|προσθήκη πηγών και διορθώσεις|Γιώργος Παππάς",
    "en": "List of railway stations|/* History */ copy edit and new source|Jane Q. Editor",
    "fa": "رده:زادگان سال خورشیدی|افزودن منبع و ویرایش متن|کاربر ایرانی",
    "fr": "Liste des monuments historiques|ajout de références, relecture|Éloïse Lefèvre",
    "he": "רשימת אתרי מורשת|הוספת מקורות והגהה|ישראל כהן",
    "hi": "भारत के ऐतिहासिक स्थल|स्रोत जोड़ा और वर्तनी सुधारी|राजेश शर्मा",
    "hy": "Պատմական հուշարձանների ցանկ|աղբյուրների ավելացում|Արմեն Հայկի",
    "ja": "日本の歴史的建造物一覧|出典の追加と表記の修正|山田太郎",
    "ka": "ისტორიული ძეგლების სია|წყაროების დამატება|გიორგი მაისურაძე",
    "ko": "분류:한국의 문화유산|출처 추가 및 문장 다듬기|사용자 廢后",
    "ml": "കേരളത്തിലെ സ്ഥലങ്ങൾ|അവലംബം ചേർത്തു|രാജൻ നായർ",
    "pl": "Lista zabytków w województwie|drobne redakcyjne, źródła, łączenie przypisów|Michał Żółkiewski",
    "ru": "Список памятников архитектуры|дополнение, источники, оформление|Алексей Ёлкин",
    "ta": "தமிழ்நாட்டின் வரலாறு|மேற்கோள் சேர்க்கப்பட்டது|குமார் ராஜா",
    "te": "వర్గం:చారిత్రక స్థలాలు|మూలాలు చేర్చాను|రాజశేఖర్",
    "th": "รายชื่อโบราณสถาน|เพิ่มแหล่งอ้างอิงและปรับข้อความ|สมชาย ใจดี",
    "uk": "Список пам'яток архітектури|додано джерела, виправлено помилки|Зореслава Ґудзь",
    "vi": "Danh sách di tích lịch sử|thêm nguồn và sửa lỗi chính tả|Nguyễn Văn Đức",
    "zh": "中国历史建筑列表|补充来源并修正格式|维基用户王小明",
}
"""{language: title|comment|user}."""

_LENDERS = ("en", "de", "fr", "pl", "cs", "vi")
"""The languages whose words the others borrow."""


@dataclass(frozen=True)
class Wiki:
    """A wiki: its database name, its domain, the share of all changes that are its, and its people's words."""

    name: str
    domain: str
    share: float
    title: str
    comment: str
    user: str


@cache
def wikis() -> tuple[Wiki, ...]:
    """All wikis, the busiest first; the shares sum up to 1."""
    rest = [each for each in _domains() if each[0] not in _BUSIEST]
    left = 1 - sum(share for *_, share in _BUSIEST.values())
    weights = [1 / (rank + 2) for rank in range(len(rest))]
    named = [(name, *known) for name, known in _BUSIEST.items()]
    named += [(*each, left * weight / sum(weights)) for each, weight in zip(rest, weights, strict=True)]
    return tuple(_wiki(*each) for each in named)


def _domains() -> list[tuple[str, str, str]]:
    """(name, domain, language) of each wiki."""
    found = [(_database(code, "wiki"), f"{code}.wikipedia.org", code) for code in _LANGUAGES]
    found += [(name, f"{host}.wikimedia.org", "en") for name, host in _COMMONS.items()]
    for project, number in _SISTERS.items():
        found += [(_database(code, project), f"{code}.{project}.org", code) for code in _LANGUAGES[:number]]
    return found


def _database(code: str, project: str) -> str:
    return f"{code.replace('-', '_')}{project}"


def _wiki(name: str, domain: str, language: str, share: float) -> Wiki:
    words = _WORDS.get(language) or _WORDS[_LENDERS[sum(map(ord, language)) % len(_LENDERS)]]
    return Wiki(name, domain, share, *words.split("|"))
