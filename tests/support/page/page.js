// Fills every kind of store that a site can own, or reports what they hold.
// Both ends use the same description, so that "still there" is one comparison.
// Chromium 66 has to understand it: no Object.fromEntries, no Blob.arrayBuffer.
"use strict";

const RECORDS = 1500;
const ASSETS = 240;

// Every site stores its own values, so that no store can pass for another site's.
const SITE = Array.from(location.hostname).reduce((sum, c) => sum * 31 + c.charCodeAt(0), 7) % 65521;

function text(seed, length) {
  let state = (seed + SITE) * 2654435761 % 4294967296, out = "";
  while (out.length < length) {
    state = (state * 1664525 + 1013904223) % 4294967296;
    out += state.toString(36);
  }
  return out.slice(0, length);
}

async function digest(value) {
  const bytes = typeof value === "string" ? new TextEncoder().encode(value) : value;
  const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(sum.slice(0, 8), b => b.toString(16).padStart(2, "0")).join("");
}

function asPromise(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("blocked"));
  });
}

function committed(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });
}

function openOrders(upgrade) {
  const request = indexedDB.open("seller", 1);
  request.onupgradeneeded = () => {
    if (!upgrade) { request.transaction.abort(); return; }
    const store = request.result.createObjectStore("orders", { keyPath: "id" });
    store.createIndex("buyer", "buyer");
    request.result.createObjectStore("drafts");
  };
  return asPromise(request);
}

function files() {
  return Array.from({ length: ASSETS }, (_, n) => `/asset/${n}.${["png", "js", "css", "json"][n % 4]}`);
}

// Fetches what may come from the HTTP cache; the server sees what did not.
async function load() {
  const paths = files(), sums = [];
  for (let from = 0; from < ASSETS; from += 20) {
    sums.push(...await Promise.all(paths.slice(from, from + 20).map(async path =>
      digest(await (await fetch(path)).arrayBuffer()))));
  }
  return { loaded: sums.length, digest: await digest(JSON.stringify(sums)) };
}

async function fill() {
  const year = 365 * 24 * 3600;
  for (let i = 0; i < 12; i++) {
    document.cookie = `page${i}=${text(i + 1, 60)}; max-age=${year}; path=/; Secure; SameSite=Lax`;
  }
  await fetch("/login", { method: "POST" });
  for (let i = 0; i < 150; i++) localStorage.setItem(`setting.${i}`, text(i + 100, 200));
  for (let i = 0; i < 20; i++) sessionStorage.setItem(`tab.${i}`, text(i + 400, 100));

  const db = await openOrders(true);
  for (let from = 0; from < RECORDS; from += 250) {
    const tx = db.transaction(["orders", "drafts"], "readwrite", { durability: "strict" });
    for (let id = from; id < from + 250; id++) {
      tx.objectStore("orders").put({ id, buyer: `buyer${id % 97}`, note: text(id, 300), paid: id % 3 === 0 });
    }
    tx.objectStore("drafts").put(new Blob([text(from, 90000)]), `draft${from}`);
    await committed(tx);
  }
  db.close();

  const cache = await caches.open("assets-v1");
  await cache.addAll(Array.from({ length: 30 }, (_, i) => `/asset/${9000 + i}.png`));

  await navigator.serviceWorker.register("/worker.js");
  await navigator.serviceWorker.ready;
  if (navigator.storage.persist) await Promise.race([navigator.storage.persist(), new Promise(r => setTimeout(r, 500))]);

  await load();
  for (let n = 1; n < 12; n += 4) {
    await new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = `/asset/${n}.js`;
      script.onload = resolve;
      script.onerror = reject;
      document.body.append(script);
    });
  }
  for (let n = 0; n < 40; n += 4) {
    const image = new Image();
    image.src = `/asset/${n}.png`;
    await image.decode();
  }
}

async function describe() {
  const out = {};
  out.cookies = {};
  for (const cookie of document.cookie.split("; ").filter(c => c).sort()) {
    const [name, value] = cookie.split("=");
    out.cookies[name] = value;
  }
  out.login = await (await fetch("/whoami", { cache: "no-store" })).json();

  const settings = Object.keys(localStorage).sort().map(key => [key, localStorage.getItem(key)]);
  out.localStorage = { keys: settings.length, digest: await digest(JSON.stringify(settings)) };

  try {
    const db = await openOrders(false);
    const orders = await asPromise(db.transaction("orders").objectStore("orders").getAll());
    const byBuyer = await asPromise(db.transaction("orders").objectStore("orders").index("buyer").count());
    const keys = await asPromise(db.transaction("drafts").objectStore("drafts").getAllKeys());
    const drafts = [];
    for (const key of keys) {
      const blob = await asPromise(db.transaction("drafts").objectStore("drafts").get(key));
      drafts.push([key, await digest(await new Response(blob).arrayBuffer())]);
    }
    db.close();
    out.indexedDB = { records: orders.length, indexed: byBuyer, digest: await digest(JSON.stringify(orders)), drafts };
  } catch (error) {
    out.indexedDB = { error: String(error) };
  }

  out.cacheStorage = {};
  for (const name of (await caches.keys()).sort()) {
    const cache = await caches.open(name), entries = [];
    for (const request of await cache.keys()) {
      const body = await (await cache.match(request)).arrayBuffer();
      entries.push([new URL(request.url).pathname, await digest(body)]);
    }
    out.cacheStorage[name] = { entries: entries.length, digest: await digest(JSON.stringify(entries.sort())) };
  }
  out.serviceWorkers = (await navigator.serviceWorker.getRegistrations()).length;
  return out;
}

async function run(mode) {
  let report;
  try {
    if (mode === "fill") await fill();
    report = { holds: await (mode === "load" ? load() : describe()) };
  } catch (error) {
    report = { error: `${error} ${error.stack || ""}` };
  }
  report.site = location.hostname;
  report.visit = location.search;
  const answer = await fetch("/report", { method: "POST", body: JSON.stringify(report) });
  const next = (await answer.json()).next;
  if (next) location.href = `https://${next}/${mode}${location.search}`;
}
