// Serves /offline/ from Cache Storage, so that the worker itself is a stored thing that must keep working.
self.addEventListener("install", event => {
  event.waitUntil(caches.open("offline-v1")
    .then(cache => cache.addAll(["/offline/a.txt", "/offline/b.txt"]))
    .then(() => self.skipWaiting()));
});
self.addEventListener("activate", event => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", event => {
  if (new URL(event.request.url).pathname.startsWith("/offline/")) {
    event.respondWith(caches.match(event.request).then(hit => hit || fetch(event.request)));
  }
});
