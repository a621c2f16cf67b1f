// A node of @ethereumjs/devp2p for the live tests: RLPx alone, on 127.0.0.1, without discovery. It speaks eth/68 on the
// chain of the genesis file that it is given, and does what it is told, a line of JSON each on standard input; what
// happens to it goes to standard output, a line of JSON each. It ends when standard input does.
//
// node peer.mjs '{"key": hex, "genesis": {...}, "genesisHash": hex, "maxPeers": n, "capability": "eth" | "snap",
//                 "sendsStatus": bool}'

import { createInterface } from 'node:readline'

import { createCommonFromGethGenesis } from '@ethereumjs/common'
import { ETH, Peer, RLPx, SNAP } from '@ethereumjs/devp2p'
import { bytesToUnprefixedHex, hexToBytes } from '@ethereumjs/util'

const options = JSON.parse(process.argv[2])
const say = (event, more = {}) => process.stdout.write(`${JSON.stringify({ event, ...more })}\n`)
const bytes = (digits) => hexToBytes(`0x${digits}`)
// Items of RLP, as far down as they go.
const hex = (item) => (item instanceof Uint8Array ? bytesToUnprefixedHex(item) : item.map(hex))

const genesisHash = bytes(options.genesisHash)
const common = createCommonFromGethGenesis(options.genesis, { chain: 'test', genesisHash, hardfork: 'osaka' })
common.setForkHashes(genesisHash)
const capabilities = options.capability === 'eth' ? [ETH.eth68] : [SNAP.snap]
const { maxPeers } = options
const rlpx = new RLPx(bytes(options.key), { capabilities, common, maxPeers, listenPort: null })

// The library tells nobody of a Disconnect that comes before Hello.
const handleDisconnect = Peer.prototype._handleDisconnect
Peer.prototype._handleDisconnect = function (payload) {
  handleDisconnect.call(this, payload)
  say('told', { reason: this._disconnectReason })
}

let peer
rlpx.events.on('peer:added', (added) => {
  peer = added
  const hello = peer.getHelloMessage()
  const offered = hello.capabilities.map(({ name, version }) => `${name}/${version}`)
  say('hello', { client: hello.clientId, version: hello.protocolVersion, id: hex(hello.id), offered })
  const [protocol] = peer.getProtocols()
  protocol.events.on('status', ({ chainId, bestHash, genesisHash, forkId }) => {
    say('status', { chainId: hex(chainId), bestHash: hex(bestHash), genesisHash: hex(genesisHash), forkId: hex(forkId) })
  })
  protocol.events.on('message', (code, payload) => say('message', { code, payload: hex(payload) }))
  if (options.sendsStatus) {
    protocol.sendStatus({ td: new Uint8Array(), bestHash: genesisHash, genesisHash })
  }
})
rlpx.events.on('peer:removed', (_, reason, byUs) => say('closed', { reason: reason ?? null, byUs: byUs === true }))
rlpx.events.on('peer:error', (_, error) => say('error', { words: String(error) }))
rlpx.events.on('error', (error) => say('error', { words: String(error) }))
rlpx.events.on('listening', () => say('listening', { port: rlpx._server.address().port, id: hex(rlpx.id) }))
rlpx.listen(0, '127.0.0.1')

const orders = {
  dial: ({ id, port }) => {
    const target = { id: bytes(id), address: '127.0.0.1', tcpPort: port }
    rlpx.connect(target).catch((error) => say('error', { words: String(error) }))
  },
  send: ({ code, payload }) => {
    const items = (item) => (typeof item === 'string' ? bytes(item) : item.map(items))
    peer.getProtocols()[0].sendMessage(code, items(payload))
  },
  disconnect: ({ reason }) => peer.disconnect(reason),
  destroy: () => rlpx.destroy(),
}
const input = createInterface({ input: process.stdin })
input.on('line', (line) => {
  const { order, ...more } = JSON.parse(line)
  orders[order](more)
})
input.on('close', () => process.exit(0))
