// node-postgres through the sidecar; one line a step. Environment: PORT, CA (empty: no TLS), BASE.
const fs = require('fs')
const { Client, Query } = require('pg')

const BASE = Number(process.env.BASE)
const CA = process.env.CA
const options = {
  host: '127.0.0.1', port: Number(process.env.PORT), user: 'agent', password: 'agent-secret', database: 'app',
  ssl: CA ? { ca: fs.readFileSync(CA, 'utf8') } : false,
}

const one = (value) => value === null ? 'NULL' : Array.isArray(value) ? `{${value.join(',')}}` : String(value)
const show = (rows) => rows.map((row) => row.map(one).join('|')).join(' ; ')

async function step(name, run) {
  try {
    console.log(`${name}: ${await run()}`)
  } catch (error) {
    console.log(`${name}: error ${error.code ?? error.message}`)
  }
}

async function main() {
  const db = new Client(options)
  await db.connect()
  const q = async (text, values, more) => show((await db.query({ text, values, rowMode: 'array', ...more })).rows)
  await step('tls', async () => db.connection.stream.encrypted ? 'on' : 'off')
  await step('query', () => q('SELECT id, name, feels FROM customers ORDER BY id'))
  await step('masked', () => q('SELECT email, ssn, pin FROM customers ORDER BY id'))
  await step('masked extended', () => q('SELECT email, ssn, pin FROM customers WHERE id > $1 ORDER BY id', [0]))
  await step('masked binary', () => q('SELECT email, ssn FROM customers WHERE id > $1 ORDER BY id', [0], { binary: true }))
  await step('prepared', async () => {
    const found = []
    for (let number = 1; number <= 12; number++) {
      found.push(await q(`SELECT note AS n${BASE} FROM orders WHERE id = $1`, [number], { name: 'one-note' }))
    }
    return found.join(' ; ')
  })
  await step('prepared masked', async () => {
    const found = []
    for (let n = 0; n < 8; n++) found.push(await q('SELECT ssn FROM customers WHERE id = $1', [1], { name: 'one-ssn' }))
    return found.join(' ; ')
  })
  await step('queued', async () => {
    const all = Array.from({ length: 20 }, (_, n) => q('SELECT note FROM orders WHERE id = $1', [n + 1]))
    return (await Promise.all(all)).slice(-3).join(' ; ')
  })
  await step('limited', () => q('SELECT ssn FROM customers ORDER BY id', [], { rows: 1 }))
  await step('copy', async () => {
    const done = await db.query('COPY (SELECT id, ssn FROM customers ORDER BY id) TO STDOUT')
    return `${done.command} ${done.rowCount}`
  })
  await step('cancel', () => {
    const text = 'SELECT count(*) FROM generate_series(1, 100000) a CROSS JOIN generate_series(1, 100000) b'
    return new Promise((resolve, reject) => {
      const query = new Query(text, (error, result) => error ? reject(error) : resolve(show(result.rows)))
      db.query(query)
      // Its cancel goes over a connection of its own, which has no TLS.
      setTimeout(() => new Client({ ...options, ssl: false }).cancel(db, query), 500)
    })
  })
  await step('after it', () => q('SELECT 1'))

  const beginAndFail = async (bad, number) => {
    await db.query('BEGIN')
    await db.query('INSERT INTO log VALUES ($1, $2)', [BASE + number, 'x'])
    return q(bad)
  }
  await step('error in a transaction', () => beginAndFail('SELECT 1/0', 30))
  await step('aborted', () => q('SELECT 1'))
  await step('rolled back', async () => (await db.query('ROLLBACK')).command)
  await step('refused', () => q('DROP TABLE orders'))
  await step('refused prepared', () => q('DELETE FROM orders WHERE id = $1', [1], { name: 'del' }))
  await step('after it', () => q('SELECT 1'))
  await step('refused in a transaction', () => beginAndFail('DELETE FROM customers WHERE id = 1', 31))
  await step('aborted', () => q('SELECT 1'))
  await step('commit rolls back', async () => (await db.query('COMMIT')).command)
  await step('masked in a predicate', () => q('SELECT id FROM customers WHERE ssn = $1', ['CANARY-ssn-1']))
  await step('kept', () => q('SELECT id - $1::int FROM log WHERE id >= $1 AND id < $2 ORDER BY id', [BASE, BASE + 1000]))
  await db.end()
}

main().catch((error) => { console.log(`fatal: ${error.stack}`); process.exit(1) })
