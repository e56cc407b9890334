// One question about a page, asked in headless Chromium: page.mjs MODULES CHROMIUM PAGE TASK. The answer is JSON.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [, , modules, executablePath, file, task] = process.argv;
const require = createRequire(`${modules}/`);
const { chromium } = require("playwright-core");
const quiet = ["disable-quic", "no-first-run", "disable-background-networking", "disable-component-update", "disable-sync"];
const url = pathToFileURL(file).href;

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", ...quiet.map((flag) => `--${flag}`)] });

/** Open the page in a context of its own, and note whatever it complains about or asks for. */
async function open(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 900 }, colorScheme: "light", ...options });
  const page = await context.newPage();
  const noted = { errors: [], requests: [], owned: 0 };
  page.on("console", (message) => { if (message.type() === "error" || message.type() === "warning") noted.errors.push(message.text()); });
  page.on("pageerror", (error) => noted.errors.push(error.message));
  page.on("dialog", (dialog) => { noted.owned++; return dialog.dismiss(); });
  page.on("request", (request) => noted.requests.push(request.url()));
  await page.exposeFunction("owned", () => { noted.owned++; });
  await page.goto(url);
  if (options.javaScriptEnabled !== false) await page.waitForSelector("html[data-ready]", { timeout: 20000 });
  return { page, noted };
}

const status = (page) => page.textContent("#filtered");
const names = (page) => page.$$eval("#tensor-table tbody th", (cells) => cells.map((cell) => cell.textContent));
const settle = (page) => page.waitForTimeout(250); // the filter waits for whoever types

async function typed(page, text) {
  await page.fill("#filter", text);
  await settle(page);
  return { status: await status(page), names: await names(page), pager: await page.textContent(".pager p") };
}

const tasks = {
  async look() {
    const { page, noted } = await open();
    for (const figure of await page.$$("figure")) await figure.scrollIntoViewIfNeeded();
    await page.waitForTimeout(200);
    return {
      ...noted, title: await page.title(), heading: await page.textContent("h1"), text: await page.innerText("main"),
      sections: await page.$$eval("section", (found) => found.map((section) => section.id)),
      figures: (await page.$$("figure")).length, canvases: (await page.$$("figure canvas")).length,
      links: await page.$$eval("a[href]", (found) => found.map((link) => link.getAttribute("href")).filter((href) => !document.querySelector(href))),
    };
  },

  async axe() {
    const source = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
    const found = [];
    for (const colorScheme of ["light", "dark"]) {
      for (const width of [1200, 400]) {
        const { page } = await open({ colorScheme, viewport: { width, height: 900 } });
        for (const summary of await page.$$("summary")) await summary.click();
        await page.evaluate(source);
        const { violations, passes } = await page.evaluate(() => axe.run(document));
        found.push({
          colorScheme, width, passes: passes.map((rule) => rule.id),
          violations: violations.map((rule) => `${rule.id}: ${rule.nodes.slice(0, 3).map((node) => `${node.html.slice(0, 200)} ${node.failureSummary}`).join(" | ")}`),
        });
      }
    }
    return found;
  },

  async filter() {
    const { page, noted } = await open();
    const all = await names(page);
    const layer = await typed(page, "layers.1.mlp UP_proj");
    const starred = await typed(page, "layers.*.mlp.up_proj.weight");
    const figures = await page.$$eval("figure:not([hidden]) figcaption", (found) => found.map((caption) => caption.textContent));
    const nothing = await typed(page, "no such (name");
    await page.keyboard.press("Escape");
    return { ...noted, all, layer, starred, figures, nothing, cleared: [await names(page), await status(page), await page.inputValue("#filter")] };
  },

  async finding() {
    const { page, noted } = await open();
    await page.click("#findings button >> nth=0");
    const shown = { status: await status(page), names: await names(page), focus: await page.evaluate(() => document.activeElement.textContent) };
    const link = page.locator("#tensor-table tbody a >> nth=0");
    const code = await link.textContent();
    await link.click();
    const target = await page.evaluate(() => { const found = document.querySelector(location.hash); return found && { text: found.textContent, top: found.getBoundingClientRect().top }; });
    await page.click("#filtered button");
    return { ...noted, shown, code, target, cleared: await status(page) };
  },

  async keyboard() {
    const { page, noted } = await open();
    const order = [];
    for (let step = 0; step < 14; step++) {
      await page.keyboard.press("Tab");
      order.push(await page.evaluate(() => document.activeElement.textContent.trim().slice(0, 40) || document.activeElement.id));
    }
    await page.keyboard.press("/");
    const slash = await page.evaluate(() => document.activeElement.id);
    const plot = page.locator(".plot >> nth=0");
    await plot.focus();
    const walked = [];
    for (const key of ["Home", "ArrowRight", "ArrowRight", "End", "ArrowLeft"]) {
      await page.keyboard.press(key);
      walked.push([await plot.getAttribute("aria-valuenow"), await plot.getAttribute("aria-valuetext")]);
    }
    await page.keyboard.press("Enter");
    await settle(page);
    return { ...noted, order, slash, walked, entered: [await page.inputValue("#filter"), await names(page)] };
  },

  async hover() {
    const { page, noted } = await open();
    const plot = page.locator(".plot >> nth=0");
    await plot.scrollIntoViewIfNeeded();
    const before = await page.textContent(".readout >> nth=0");
    const box = await plot.boundingBox();
    await page.mouse.move(box.x + box.width - 8, box.y + box.height / 2);
    const over = await page.textContent(".readout >> nth=0");
    const beside = await page.textContent(".readout >> nth=1"); // the pictures of a measure move together
    return { ...noted, before, over, beside };
  },

  async table() {
    const { page, noted } = await open();
    const sorted = {};
    for (const heading of ["Name", "Bytes", "Shape"]) {
      await page.click(`#tensor-table th button:text-is("${heading}")`);
      sorted[heading] = [(await names(page))[0], await page.getAttribute("#tensor-table th[aria-sort]", "aria-sort")];
    }
    await page.click('#tensor-table th button:text-is("Name")');
    await page.click('.pager button:text-is("Next")');
    return { ...noted, sorted, second: (await names(page))[0], pager: await page.textContent(".pager p"), next: await page.isEnabled('.pager button:text-is("Next")') };
  },

  async themes() {
    const { page, noted } = await open({ colorScheme: "dark" });
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const found = [await ground()];
    for (let step = 0; step < 2; step++) {
      await page.click("#theme");
      found.push([await page.textContent("#theme"), await ground()]);
    }
    return { ...noted, found };
  },

  async narrow() {
    const found = [];
    for (const width of [320, 400, 800]) {
      const { page } = await open({ viewport: { width, height: 800 } });
      found.push([width, await page.evaluate(() => document.documentElement.scrollWidth)]);
    }
    return found;
  },

  async print() {
    const { page, noted } = await open({ colorScheme: "dark" });
    const pdf = await page.pdf({ format: "A4" });
    await page.emulateMedia({ media: "print" });
    return {
      ...noted, pages: pdf.toString("latin1").match(/\/Type\s*\/Page\b/g)?.length ?? 0,
      ground: await page.evaluate(() => getComputedStyle(document.body).backgroundColor),
      bar: await page.isVisible(".bar"), figures: (await page.$$("figure")).length, canvases: (await page.$$("figure canvas")).length,
      wide: await page.$$eval("figure", (all) => all.filter((figure) => figure.querySelector("canvas")?.clientWidth > figure.clientWidth + 1).length),
    };
  },

  async speed() {
    const times = [];
    for (let round = 0; round < 4; round++) {
      const { page } = await open();
      times.push(Number(await page.evaluate(() => document.documentElement.dataset.ready)));
      await page.context().close();
    }
    const { page, noted } = await open();
    const begin = await page.evaluate(() => performance.now());
    const filtered = await page.evaluate(() => {
      const input = document.getElementById("filter");
      input.value = "layers.7.";
      input.dispatchEvent(new Event("input"));
      return new Promise((resolve) => setTimeout(() => resolve(document.getElementById("filtered").textContent), 130));
    });
    return { ...noted, times, filtered, took: (await page.evaluate(() => performance.now())) - begin };
  },

  async hostile() {
    const { page, noted } = await open();
    for (const summary of await page.$$("summary")) await summary.click();
    const found = await typed(page, "owned");
    return { ...noted, ...found, text: await page.innerText("main"), elements: await page.$$eval("img, script:not([id])", (all) => all.map((one) => one.tagName)), title: await page.title() };
  },

  async plain() {
    const { page, noted } = await open({ javaScriptEnabled: false });
    return { ...noted, text: await page.innerText("body") };
  },
};

try {
  process.stdout.write(JSON.stringify(await tasks[task]()));
} finally {
  await browser.close();
}
