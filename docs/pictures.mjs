// Pictures of a page: pictures.mjs MODULES CHROMIUM PAGE FOLDER. What there is to see first, and the first charts.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [, , modules, executablePath, file, folder] = process.argv;
const { chromium } = createRequire(`${modules}/`)("playwright-core");
const quiet = ["disable-quic", "no-first-run", "disable-background-networking", "disable-component-update", "disable-sync"];

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", ...quiet.map((flag) => `--${flag}`)] });
try {
  const page = await browser.newPage({ viewport: { width: 1120, height: 900 }, colorScheme: "light" });
  await page.goto(pathToFileURL(file).href);
  await page.waitForSelector("html[data-ready]");
  for (const figure of await page.$$("figure")) await figure.scrollIntoViewIfNeeded();
  await page.evaluate(() => scrollTo(0, 0));
  const edges = await page.evaluate(() => {
    const bottom = (selector) => Math.ceil(document.querySelector(selector).getBoundingClientRect().bottom);
    const top = (selector) => Math.floor(document.querySelector(selector).getBoundingClientRect().top);
    return {
      "report.png": [0, bottom("#finding-2") + 10],
      "report-layers.png": [top("#charts") + 10, bottom("#charts > div:nth-of-type(2) .panels") + 10],
    };
  });
  for (const [name, [y, bottom]] of Object.entries(edges)) {
    await page.screenshot({ path: `${folder}/${name}`, fullPage: true, clip: { x: 0, y, width: 1120, height: bottom - y } });
  }
} finally {
  await browser.close();
}
