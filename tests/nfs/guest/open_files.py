# SPDX-License-Identifier: Apache-2.0
#
# Files that are open without a name or under another one; links; maps.
import mmap, os, time
os.chdir('/mnt')
# A file that is open lives on after its last name, and after another took it.
f = open('open', 'wb+', buffering=0); f.write(b'x' * 100000); os.unlink('open')
assert not os.path.exists('open')
f.seek(0); assert f.read() == b'x' * 100000
f.write(b'y'); os.fsync(f.fileno()); assert os.fstat(f.fileno()).st_size == 100001
g = open('g', 'wb+', buffering=0); g.write(b'old')
open('h', 'wb').write(b'new'); os.rename('h', 'g')
g.seek(0); assert g.read() == b'old'; assert open('g', 'rb').read() == b'new'
f.close(); g.close()
# The client removes what it had renamed once it has seen the close.
for _ in range(200):
    if os.listdir('.') == ['g']: break
    time.sleep(0.1)
assert os.listdir('.') == ['g'], os.listdir('.')
os.link('g', 'l'); assert os.stat('l').st_nlink == 2 and os.path.samefile('g', 'l')
os.mkdir('d'); os.rename('l', 'd/l'); os.unlink('g'); assert os.stat('d/l').st_nlink == 1
# Maps.
size = 3 * 1048576 + 123
m = open('map', 'wb+'); m.truncate(size)
with mmap.mmap(m.fileno(), size) as at:
    for i in range(0, size, 4096): at[i] = i // 4096 % 251
    at[size - 1] = 7; at.flush()
with open('map', 'rb') as r, mmap.mmap(r.fileno(), size, prot=mmap.PROT_READ) as at:
    assert all(at[i] == i // 4096 % 251 for i in range(0, size, 4096)) and at[size - 1] == 7
