"use strict";
(() => {
  const { images, records, names, cells } = JSON.parse(document.getElementById("payload").textContent);
  const find = (selector) => document.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const make = (name, text, className) => {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  };
  const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;

  // Each picture is in the page once; its elements get it here. Some are left out.
  document.body.classList.toggle("plain-page", !images.some(Boolean));
  const fill = (image, number) => {
    if (number === null || !images[number]) {
      const empty = make("span", undefined, "nopic");
      empty.setAttribute("role", "img");
      empty.setAttribute("aria-label", image.alt);
      image.replaceWith(empty);
      return empty;
    }
    image.addEventListener("load", () => image.classList.toggle("tiny", image.naturalWidth <= 48));
    image.src = images[number];
    return image;
  };
  for (const image of all("img[data-i]")) fill(image, Number(image.dataset.i));
  const picture = (record) => {
    const image = make("img");
    image.alt = record.path;
    image.width = image.height = 144;
    return fill(image, record.image);
  };

  const card = (number) => {
    const record = records[number];
    const [guess, share] = record.ranked[0];
    const button = make("button", undefined, "card");
    button.type = "button";
    button.dataset.r = number;
    const caption = make("span", undefined, "cap");
    caption.append(make("b", `${names[guess]}, ${Math.round(100 * share)}\u00a0%`, guess === record.actual ? "good" : "bad"));
    if (guess !== record.actual) caption.append(make("span", `is ${names[record.actual]}`));
    caption.append(make("span", record.path, "file"));
    button.append(picture(record), caption);
    return button;
  };

  // An image with its most probable classes.
  const dialog = find("#zoom");
  const zoom = (number) => {
    const record = records[number];
    const list = make("ol");
    for (const [label, share] of record.ranked) {
      const item = make("li", undefined, label === record.actual ? "is" : "");
      const bar = make("i");
      bar.style.width = `${100 * share}%`;
      const track = make("span");
      track.append(bar);
      item.append(make("span", names[label]), track, make("b", percent(share)));
      list.append(item);
    }
    const close = make("button", "Close");
    close.type = "button";
    close.addEventListener("click", () => dialog.close());
    dialog.replaceChildren(picture(record), make("div", record.path, "note"), make("div", `Its class: ${names[record.actual]}`), list, close);
    dialog.showModal();
  };
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".card[data-r]");
    if (button) zoom(Number(button.dataset.r));
  });

  // The matrix: a click shows the images of a cell; arrow keys go from cell to cell.
  const matrix = find("#matrix");
  const panel = find("#cell");
  const buttons = new Map(all("[data-cell]", matrix).map((button) => [button.dataset.cell, button]));
  const focusable = (button) => {
    for (const other of buttons.values()) other.tabIndex = -1;
    button.tabIndex = 0;
  };
  if (buttons.size) focusable(buttons.values().next().value);
  const open = (button) => {
    const key = button.dataset.cell;
    const [row, column] = key.split(",").map(Number);
    for (const other of buttons.values()) other.removeAttribute("aria-current");
    button.setAttribute("aria-current", "true");
    focusable(button);
    const gallery = make("div", undefined, "gallery");
    gallery.append(...cells[key].map(card));
    const total = Number(button.dataset.total);
    const verdict = row === column ? "right" : `taken for ${names[column]}`;
    const some = cells[key].length < total ? `; ${cells[key].length} of them, the ${row === column ? "least sure" : "surest"} first` : "";
    panel.replaceChildren(make("h3", `${names[row]}, ${verdict}: ${total.toLocaleString("en")} image${total === 1 ? "" : "s"}${some}`), gallery);
    panel.hidden = false;
    panel.scrollIntoView({ block: "nearest" });
  };
  matrix.addEventListener("click", (event) => {
    const button = event.target.closest("[data-cell]");
    if (button) open(button);
  });
  for (const chip of all("[data-open]")) chip.addEventListener("click", () => open(buttons.get(chip.dataset.open)));
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  matrix.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    const button = event.target.closest("[data-cell]");
    if (!step || !button) return;
    event.preventDefault();
    let [row, column] = button.dataset.cell.split(",").map(Number);
    // The next cell with images in this direction, or the nearest one in the next row or column that has one.
    const inside = (number) => number >= 0 && number < names.length;
    for (row += step[0], column += step[1]; inside(row) && inside(column); row += step[0], column += step[1]) {
      for (let aside = 0; aside < names.length; aside++) {
        for (const sign of aside ? [1, -1] : [1]) {
          const place = step[0] ? [row, column + sign * aside] : [row + sign * aside, column];
          const next = buttons.get(place.join(","));
          if (next) { focusable(next); next.focus(); return; }
        }
      }
    }
  });
  for (const button of all("[data-show]")) {
    button.addEventListener("click", () => {
      matrix.classList.toggle("shares", button.dataset.show === "shares");
      for (const other of all("[data-show]")) other.setAttribute("aria-pressed", String(other === button));
    });
  }

  // Tables that can be sorted: text from A, numbers from the lowest.
  for (const table of all("table.sortable")) {
    const headings = all("thead th", table);
    headings.forEach((heading, column) => heading.querySelector("button").addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      for (const other of headings) other.setAttribute("aria-sort", "none");
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => row.cells[column].dataset.v;
      const compare = column ? (a, b) => value(a) - value(b) : (a, b) => value(a).localeCompare(value(b), undefined, { numeric: true });
      const rows = all("tbody tr", table).sort((a, b) => (down ? -1 : 1) * compare(a, b));
      table.tBodies[0].append(...rows);
    }));
  }

  // The menu marks the section that is read, and moves to it where it is wider than the screen.
  const menu = find("nav ul");
  const links = new Map(all("a", menu).map((link) => [link.hash.slice(1), link]));
  const mark = (entries) => {
    const read = entries.find((entry) => entry.isIntersecting);
    if (!read) return;
    for (const link of links.values()) link.removeAttribute("aria-current");
    const link = links.get(read.target.id);
    link.setAttribute("aria-current", "true");
    menu.scrollTo({ left: link.offsetLeft - (menu.clientWidth - link.offsetWidth) / 2 });
  };
  const reading = new IntersectionObserver(mark, { rootMargin: "-20% 0px -79% 0px" });
  for (const section of all("main > section")) reading.observe(section);

  // The map: colours by class, the image under the mouse or finger, one class alone by the legend.
  const map = find("#map");
  if (map) {
    const palette = ["#4e79a7", "#e8843c", "#5aa469", "#c95b6b", "#8b73b8", "#a0795c", "#d68fbd", "#7f8893", "#b3a33a", "#46a9b5"];
    const colour = (label) => names.length <= 10 ? palette[label] : `hsl(${(label * 137.508) % 360} 55% ${45 + 15 * (label % 2)}%)`;
    const dots = all("circle", map);
    for (const dot of dots) dot.style.fill = colour(Number(dot.dataset.c));
    const tip = find("#tip");
    const show = (dot) => {
      const record = records[dot.dataset.n];
      const [guess, share] = record.ranked[0];
      const verdict = guess === record.actual ? `${names[guess]} ${percent(share)}` : `${names[record.actual]}, taken for ${names[guess]} ${percent(share)}`;
      tip.replaceChildren(picture(record), make("div", verdict), make("div", record.path, "file"));
      tip.hidden = false;
      const box = map.parentElement.getBoundingClientRect(), place = dot.getBoundingClientRect();
      const left = place.left - box.left + 14;
      tip.style.left = `${left + tip.offsetWidth > box.width ? Math.max(0, left - tip.offsetWidth - 24) : left}px`;
      tip.style.top = `${Math.max(0, Math.min(place.top - box.top - 30, box.height - tip.offsetHeight))}px`;
    };
    map.addEventListener("pointerover", (event) => { if (event.target.matches("circle")) show(event.target); else tip.hidden = true; });
    map.addEventListener("pointerleave", () => { tip.hidden = true; });
    map.addEventListener("click", (event) => { if (event.target.matches("circle")) zoom(Number(event.target.dataset.n)); });
    const legend = find("#legend");
    names.forEach((name, label) => {
      const button = make("button");
      button.type = "button";
      button.setAttribute("aria-pressed", "false");
      const key = make("span", undefined, "key");
      key.style.background = colour(label);
      button.append(key, ` ${name}`);
      button.addEventListener("click", () => {
        const alone = button.getAttribute("aria-pressed") === "false";
        for (const other of legend.children) other.setAttribute("aria-pressed", "false");
        button.setAttribute("aria-pressed", String(alone));
        for (const dot of dots) dot.classList.toggle("off", alone && Number(dot.dataset.c) !== label);
      });
      legend.append(button);
    });
  }
})();
