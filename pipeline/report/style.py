"""The page's style sheet: one calm column, light, dark and print, colours as variables."""

from __future__ import annotations

_SHARES = (0, 11, 18, 25, 32, 39, 46, 54, 66, 84, 100)

_LIGHT = """
  --bg:#fff;--raised:#f5f7f9;--ink:#18202b;--soft:#566173;--line:#dde3ea;--one:#1d63a8;--two:#b5500f;
  --grey:#8a95a5;--ok:#176c43;--okbg:#e6f4ec;--bad:#a8241b;--badbg:#fdecea;--warn:#7a4f00;--warnbg:#fdf3dc;
  --heat:#1d5fa5;--onheat:#fff;color-scheme:light"""

_DARK = """
  --bg:#11151b;--raised:#191f28;--ink:#e4e9f0;--soft:#9ca8b9;--line:#2b3440;--one:#79b4f2;--two:#f0a066;
  --grey:#6f7c8f;--ok:#74cfa1;--okbg:#14291f;--bad:#ff978d;--badbg:#341a18;--warn:#eec06a;--warnbg:#2e2412;
  --heat:#3474c8;--onheat:#fff;color-scheme:dark"""

_RULES = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--bg);color:var(--ink);overflow-wrap:break-word;
  font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;font-variant-numeric:tabular-nums}
main,header,footer,nav{max-width:62rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:2.5rem}
h1{font-size:clamp(1.9rem,5vw,2.7rem);line-height:1.15;letter-spacing:-.02em;margin:.1rem 0 .5rem;font-weight:650}
h2{font-size:1.4rem;letter-spacing:-.01em;line-height:1.25;margin:0 0 1rem;font-weight:620}
h3{font-size:1.05rem;margin:2rem 0 .4rem;font-weight:620}
h4{font-size:.82rem;margin:0 0 .2rem;font-weight:600;line-height:1.3}
p{margin:.5rem 0}
a{color:var(--one);text-underline-offset:.18em}
:focus-visible{outline:2px solid var(--one);outline-offset:2px}
small,.small{font-size:.82rem;color:var(--soft)}
.small{max-width:44rem}
code,pre{font:.82rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
code{word-break:break-all}
pre{background:var(--raised);padding:1rem;border-radius:.5rem;overflow:auto;max-height:32rem;white-space:pre-wrap}
.eyebrow{color:var(--soft);font-size:.85rem;margin:0}
.lead{font-size:1.12rem;color:var(--soft);max-width:44rem;margin:0 0 1rem}
.lead strong{color:var(--ink);font-weight:600}
.verdict{display:inline-block;margin:0;padding:.3rem .85rem;border-radius:1.2rem;font-weight:600;font-size:.95rem}
.verdict.ok{color:var(--ok);background:var(--okbg)}
.verdict.bad{color:var(--bad);background:var(--badbg)}
.verdict.none{color:var(--soft);background:var(--raised)}
.ok{color:var(--ok)}.bad{color:var(--bad)}
span.ok,span.bad{font-weight:600;white-space:nowrap}
.tiles{display:grid;grid-template-columns:repeat(4,1fr);gap:.75rem;margin:1.5rem 0 0}
.tile{background:var(--raised);border-radius:.75rem;padding:.9rem 1rem 1rem}
.tile dt{font-size:.85rem;color:var(--soft)}
.tile dd{margin:0}
.tile .big{font-size:1.75rem;font-weight:620;letter-spacing:-.02em;line-height:1.25;margin-bottom:.25rem}
.tile .note{font-size:.82rem;line-height:1.4;color:var(--soft)}
.notice,.callout{background:var(--warnbg);color:var(--warn);border-radius:.6rem;padding:.6rem 1rem;margin:.9rem 0 0}
.notice a{color:inherit}
.callout{margin:0 0 1.2rem}.callout ul{margin:.2rem 0;padding-left:1.1rem}.callout b{font-weight:620}
main nav{margin-top:1.4rem;padding:0}
nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;margin:0;padding:.7rem 0;
  border-block:1px solid var(--line);font-size:.92rem}
nav a{text-decoration:none}nav a:hover{text-decoration:underline}
section{padding:2rem 0 0}
section+section{border-top:1px solid var(--line);margin-top:1rem}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,15rem),1fr));gap:.8rem 1.5rem;margin:1rem 0}
.facts dt{font-size:.82rem;color:var(--soft)}
.facts dd{margin:0}
figure{margin:0 0 1.4rem}
figcaption{display:flex;flex-wrap:wrap;justify-content:space-between;gap:.1rem 1rem;align-items:baseline;
  margin-bottom:.4rem;font-size:.92rem}
figcaption b{font-weight:620}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr));gap:1rem 2.5rem}
.charts figure{max-width:27rem;display:flex;flex-direction:column;justify-content:space-between}
.charts .facts{align-content:start;grid-template-columns:repeat(auto-fill,minmax(min(100%,11rem),1fr))}
.legend{display:inline-flex;flex-wrap:wrap;gap:.1rem .9rem;align-items:center;font-size:.8rem;color:var(--soft)}
.key{display:inline-block;width:.9rem;height:.22rem;border-radius:1px;margin-right:.35rem;vertical-align:middle;
  background:currentColor}
.key.one{color:var(--one)}.key.two{color:var(--two)}.key.grey,.key.noise{color:var(--grey)}.key.faint{color:var(--one);opacity:.4}
.key.out{height:.8rem;color:var(--line)}
.scale{width:6.5rem;height:.7rem;border:1px solid var(--line)}
.plot{display:block;width:100%;height:auto}
.plot text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;fill:var(--soft)}
.plot .name{font-size:12.5px;fill:var(--ink)}.plot .value{font-weight:600}
.grid{stroke:var(--line);stroke-width:1}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}
.line.one,.line.faint{stroke:var(--one)}.line.faint{stroke-width:1;opacity:.38}.line.two{stroke:var(--two)}
.line.grey{stroke:var(--grey);stroke-width:1.4}.line.noise{stroke:var(--grey);stroke-width:1.2;stroke-dasharray:3 3}
.dot.one,.dot.faint{fill:var(--one)}.dot.two{fill:var(--two)}.dot.grey{fill:var(--grey)}
.fill{fill:var(--one)}.fill.two{fill:var(--two)}.fill.grey{fill:var(--grey)}
.track{fill:var(--line)}
.bar{display:block;height:.4rem;width:4.5rem;border-radius:.2rem;flex:none}
.measure{display:inline-flex;align-items:center;gap:.6rem;flex-direction:row-reverse}
.narrow{max-width:27rem}
.lone{max-width:44rem}.lone figure{margin:0;min-width:0}.axis{stroke:var(--grey);stroke-width:1}
.slim{display:none}@media (max-width:34rem){.wide{display:none}.slim{display:block}}
.scroll{overflow-x:auto;margin:0 0 1.4rem;max-width:100%}
table{border-collapse:collapse;font-size:.92rem;min-width:min(100%,36rem)}
table.compact,table.confusion{min-width:0}
caption{text-align:left;font-weight:620;font-size:.92rem;padding-bottom:.45rem}
th,td{padding:.4rem .7rem;text-align:right;border-bottom:1px solid var(--line);vertical-align:top;white-space:nowrap}
th.words,td.words{text-align:left;white-space:normal;overflow-wrap:anywhere;min-width:6.5rem}
thead th.words{white-space:nowrap}
.samples td:first-child{min-width:12rem}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(7.5rem,1fr));gap:1rem}
.shot{margin:0}.shot img{width:100%;aspect-ratio:1;object-fit:contain;background:var(--raised);border-radius:.4rem;
  image-rendering:auto}.shot figcaption{display:grid;gap:.1rem;font-size:.82rem}.shot .wrong{color:var(--bad)}
th:first-child,td:first-child{padding-left:0}
th:last-child,td:last-child{padding-right:0}
thead th,thead td{font-size:.82rem;font-weight:500;color:var(--soft);vertical-align:bottom;white-space:nowrap}
tbody th{font-weight:500}
th:first-child,td:first-child{text-align:left}
.variants tbody th{white-space:normal;min-width:6.5rem}
td small,th small{display:block;font-weight:400;line-height:1.35}
.variants td{white-space:normal;min-width:5rem}
.badge{background:var(--okbg);color:var(--ok);font-size:.75rem;font-weight:600;padding:.1rem .5rem;border-radius:1rem}
.variants thead th{white-space:normal;font-size:.92rem;font-weight:620;color:var(--ink)}
.confusion{font-size:.8rem}
.confusion th,.confusion td{padding:.3rem .4rem;border:0;text-align:center;min-width:2.1rem;vertical-align:middle}
.confusion tbody td{border:1px solid var(--line)}
.confusion tbody th{text-align:right;max-width:11rem;min-width:4rem;padding-right:.6rem;overflow:hidden;
  text-overflow:ellipsis;white-space:nowrap}
.confusion thead th{vertical-align:bottom}
.confusion thead th span{display:inline-block;writing-mode:vertical-rl;transform:rotate(180deg);max-height:9rem;
  overflow:hidden;text-overflow:ellipsis;white-space:nowrap;text-align:left}
.confusion thead td{text-align:right;white-space:nowrap}
.nil{color:var(--grey)}.hit{font-weight:620}
.matrix{max-width:40rem}
figure:has(.matrix),figure:has(.confusion){max-width:40rem}
.frame{fill:var(--raised)}
.heat{display:grid;gap:.45rem}
.heat .row{display:grid;grid-template-columns:minmax(6rem,10rem) 1fr;gap:.2rem .9rem;align-items:start}
.heat .block{font-size:.82rem;color:var(--soft);line-height:1.2}
.strip{display:block;width:100%}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,13rem),1fr));gap:1.1rem 1.3rem;
  padding:.6rem 0 1rem}
.card small{display:block;line-height:1.4;font-size:.78rem}.card h4 small{font-weight:400}
.spark{margin:.2rem 0}.spark .line{stroke-width:1.6}
.sticks{fill:none;stroke-width:2}.sticks.two{stroke:var(--two)}
rect.out{fill:var(--line);fill-opacity:.55}
details{border-bottom:1px solid var(--line)}details+figure,div>details+div,
section>div:not(.charts,.narrow,.gallery)>*+*{margin-top:1.6rem}
section>div:not(.charts,.narrow)>details+details{margin-top:0}
summary{cursor:pointer;padding:.6rem 0;font-weight:550}
summary small{font-weight:400}
.line.k1{stroke:var(--one)}.dot.k1{fill:var(--one)}.key.k1{color:var(--one)}
.line.k2{stroke:var(--two)}.dot.k2{fill:var(--two)}.key.k2{color:var(--two)}
.line.k3{stroke:var(--ok)}.dot.k3{fill:var(--ok)}.key.k3{color:var(--ok)}
.line.k4{stroke:var(--bad)}.dot.k4{fill:var(--bad)}.key.k4{color:var(--bad)}
.line.k5{stroke:var(--grey)}.dot.k5{fill:var(--grey)}.key.k5{color:var(--grey)}
.line.k6{stroke:var(--ink)}.dot.k6{fill:var(--ink)}.key.k6{color:var(--ink)}
.line.k7{stroke:var(--warn)}.dot.k7{fill:var(--warn)}.key.k7{color:var(--warn)}
.line.k8{stroke:var(--soft)}.dot.k8{fill:var(--soft)}.key.k8{color:var(--soft)}
ul.findings{list-style:none;padding:0;margin:0;max-width:50rem}
.findings li{padding:.45rem 0 .45rem 1.7rem;border-bottom:1px solid var(--line);position:relative}
.findings .mark{position:absolute;left:.1rem;font-weight:650}
.advice{background:var(--raised);border-radius:.75rem;padding:.9rem 1.1rem;max-width:50rem;margin-top:1.4rem}
.advice p{margin:.3rem 0}
.marked p{max-width:50rem;margin:0;padding:.6rem 0;border-bottom:1px solid var(--line);line-height:1.9}
.entity{color:inherit;background:color-mix(in srgb,var(--k) 14%,var(--bg));border-bottom:2px solid var(--k);
  border-radius:.2rem;padding:.05rem .25rem}
.entity small{color:var(--k);font-size:.75rem;font-weight:600}
.entity.missed{background:none;border-bottom-style:dashed}.entity.wrong{outline:1px solid var(--bad)}
.entity.k1{--k:var(--one)}.entity.k2{--k:var(--two)}.entity.k3{--k:var(--ok)}
.entity.k4{--k:color-mix(in srgb,#8b3fd0 78%,var(--ink))}.entity.k5{--k:color-mix(in srgb,#00808a 80%,var(--ink))}
.entity.k6{--k:color-mix(in srgb,#c2307a 80%,var(--ink))}.entity.k7{--k:var(--warn)}.entity.k8{--k:var(--soft)}
.kinds{display:flex;flex-wrap:wrap;gap:.3rem .8rem;align-items:baseline}
footer{padding-block:2rem 3rem;color:var(--soft);font-size:.85rem}
@media (max-width:56rem){.tiles{grid-template-columns:repeat(2,1fr)}}
@media (max-width:34rem){
main,header,footer,nav{padding-inline:1rem}header{padding-top:1.5rem}
.tile{padding:.7rem .8rem .8rem}.tile .big{font-size:1.4rem}
.facts,.charts .facts{grid-template-columns:repeat(auto-fill,minmax(min(100%,8rem),1fr));column-gap:1rem}
.cards{grid-template-columns:repeat(auto-fill,minmax(min(100%,8rem),1fr));gap:1rem}
.tiles{gap:.6rem;margin-top:1.1rem}
.heat .row{grid-template-columns:1fr}th,td{padding:.4rem .45rem}table{font-size:.86rem}
.samples .bar{display:none}th.words,td.words{min-width:5.4rem}
.samples td:first-child{min-width:9.5rem}.bar{width:1.4rem}.measure{gap:.4rem}
}
@media (max-width:22.5rem){table{font-size:.8rem}th,td{padding:.35rem .3rem}td.words,th.words{min-width:5rem}}
@media print{
html{font-size:10pt}body{font-size:1rem}main,header,footer{max-width:none;padding:0}header{padding:0}nav,.notice{display:none}
section{padding:1.2rem 0 0}section+section{margin-top:1rem}
figure,.tile,.card,tr,.row,.callout{break-inside:avoid}h2,h3,summary,caption,figcaption{break-after:avoid}
table{font-size:8.5pt}th,td{padding:.18rem .5rem}.charts{grid-template-columns:1fr 1fr}.lead{font-size:11pt}
.scroll{overflow:visible}pre{max-height:none}
.tiles{grid-template-columns:repeat(4,1fr)}.tile{border:1px solid var(--line);padding:.6rem}
.tile .big{font-size:1.35rem}
details::details-content{content-visibility:visible;display:block;height:auto}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
a{color:inherit;text-decoration:none}
}
"""


def _shades() -> str:
    """Heat: as fill in pictures, as background in tables; the strongest two turn the text over."""
    rules = [".s0{fill:none}"]
    for i, share in enumerate(_SHARES[1:], start=1):
        rules.append(f".s{i}{{fill:var(--one);fill-opacity:{share / 100:g}}}")
        text = ";color:var(--onheat)" if share > 80 else ""
        mixed = f"color-mix(in srgb,var(--heat) {share}%,var(--bg))"
        rules.append(f"td.s{i}{{background:{mixed}{text}}}")
    return "\n".join(rules)


def _strips() -> str:
    """A strip picture is as high as it has rows."""
    return "\n".join(f".rows{n}{{height:{0.6 * n + 0.05:.2f}rem}}" for n in range(1, 13))


def style() -> str:
    """The whole sheet; dark only on screens, so that paper stays white."""
    dark = f"@media screen and (prefers-color-scheme:dark){{:root{{{_DARK}}}}}"
    return f"\n:root{{{_LIGHT}}}\n{dark}\n{_RULES}{_shades()}\n{_strips()}\n"
