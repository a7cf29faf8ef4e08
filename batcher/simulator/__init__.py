"""The documented Rivya Public API v1, simulated: its own truth, real HTTP on loopback, faults to order.

    world     what the API does with each call; the account behind it
    books     its memory, built from records; `journal` keeps them over a restart
    rules     what is accepted, by the catalogue; `views` how things are shown
    switches  what may be set, `faults` what may go wrong
    app       HTTP over it; `serve` a real server on loopback
    film      what results look like; `media` makes and keeps them
    requestlog  every request and how it ended, on disk

Nothing here knows the client: the catalogue is all they share.
"""
