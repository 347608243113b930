"""A libtorrent session that prints DONE.

seed TORRENT DIR | leech TORRENT DIR | create CONTENT OUT
"""
import os
import sys

import libtorrent as lt

PIECE = 1 << 20
DISABLED = 2  # enc_policy.pe_disabled

command, path, target = sys.argv[1:]

if command == "create":
    files = lt.file_storage()
    lt.add_files(files, path)
    torrent = lt.create_torrent(files, piece_size=PIECE, flags=lt.create_torrent.v1_only)
    lt.set_piece_hashes(torrent, os.path.dirname(os.path.abspath(path)))
    with open(target, "wb") as out:
        out.write(lt.bencode(torrent.generate()))
    sys.exit(0)

session = lt.session({
    "listen_interfaces": "0.0.0.0:6881",
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "enable_outgoing_utp": False, "enable_incoming_utp": False,
    "out_enc_policy": DISABLED, "in_enc_policy": DISABLED,
    "allow_multiple_connections_per_ip": True,
    "alert_mask": lt.alert.category_t.status_notification | lt.alert.category_t.error_notification,
})
params = lt.add_torrent_params()
params.ti, params.save_path = lt.torrent_info(path), target
if command == "seed":
    params.flags |= lt.torrent_flags.seed_mode
session.add_torrent(params)

done = False
while True:
    session.wait_for_alert(50)
    for alert in session.pop_alerts():
        finished = isinstance(alert, lt.torrent_finished_alert)
        announced = command == "seed" and isinstance(alert, lt.tracker_reply_alert)
        if not done and (finished or announced):
            done = True
            print("DONE", flush=True)
        elif "error" in type(alert).__name__:
            print(alert, flush=True)
