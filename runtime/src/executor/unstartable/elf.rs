//! The head of an ELF binary (elf(5)).

/// What a binary says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Elf {
    /// Bytes that an emulator is registered for: enough of the header, with the kind of file that
    /// stands for all.
    pub(super) header: Vec<u8>,
    machine: u16,
    class: Class,
    order: Order,
    /// The program that links it when it starts.
    pub(super) loader: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Bits32,
    Bits64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

/// ELF's numbers of machines, what `uname -m` and what images call them, with the class and order
/// if those make a difference (elf.h; Go: internal/platform).
const MACHINES: [(u16, Option<Class>, Order, &str, &str); 13] = [
    (3, None, Order::Little, "i686", "386"),
    (8, Some(Class::Bits32), Order::Big, "mips", "mips"),
    (8, Some(Class::Bits32), Order::Little, "mips", "mipsle"),
    (8, Some(Class::Bits64), Order::Big, "mips64", "mips64"),
    (8, Some(Class::Bits64), Order::Little, "mips64", "mips64le"),
    (20, None, Order::Big, "ppc", "ppc"),
    (21, None, Order::Big, "ppc64", "ppc64"),
    (21, None, Order::Little, "ppc64le", "ppc64le"),
    (22, None, Order::Big, "s390x", "s390x"),
    (40, None, Order::Little, "armv7l", "arm"),
    (62, None, Order::Little, "x86_64", "amd64"),
    (183, None, Order::Little, "aarch64", "arm64"),
    (
        243,
        Some(Class::Bits64),
        Order::Little,
        "riscv64",
        "riscv64",
    ),
];

/// The type of a program header that names the loader.
const PT_INTERP: u32 = 3;

impl Elf {
    /// Reads the beginning of a file; none if it is no ELF binary.
    pub(super) fn parse(head: &[u8]) -> Option<Self> {
        if !head.starts_with(b"\x7fELF") {
            return None;
        }
        let class = match head.get(4)? {
            1 => Class::Bits32,
            2 => Class::Bits64,
            _ => return None,
        };
        let order = match head.get(5)? {
            1 => Order::Little,
            2 => Order::Big,
            _ => return None,
        };
        let machine = u16::try_from(number(head, order, 18, 2)?).ok()?;
        Some(Self {
            header: head.get(..20)?.to_owned(),
            machine,
            class,
            order,
            loader: loader(head, class, order),
        })
    }

    fn known(&self) -> Option<(&'static str, &'static str)> {
        let mut machines = MACHINES.iter().filter(|(machine, class, order, ..)| {
            *machine == self.machine
                && class.is_none_or(|class| class == self.class)
                && *order == self.order
        });
        machines.next().map(|&(.., uname, image)| (uname, image))
    }

    /// Returns what images call the machine it is made for.
    pub(super) fn machine(&self) -> String {
        match self.known() {
            Some((_, image)) => image.to_owned(),
            None => format!("ELF machine {}", self.machine),
        }
    }

    /// Says whether it is made for the machine that `uname -m` calls so.
    pub(super) fn runs_on(&self, machine: &str) -> bool {
        self.known().is_some_and(|(uname, _)| uname == machine)
    }
}

/// Finds the loader's name, which compilers put right behind the headers.
fn loader(head: &[u8], class: Class, order: Order) -> Option<String> {
    let read = |at: u64, length: usize| number(head, order, usize::try_from(at).ok()?, length);
    let (table, entry_size, count) = match class {
        Class::Bits32 => (read(28, 4)?, read(42, 2)?, read(44, 2)?),
        Class::Bits64 => (read(32, 8)?, read(54, 2)?, read(56, 2)?),
    };
    for index in 0..count {
        let entry = table.checked_add(index * entry_size)?;
        if read(entry, 4)? != u64::from(PT_INTERP) {
            continue;
        }
        let (offset, length) = match class {
            Class::Bits32 => (read(entry + 4, 4)?, read(entry + 16, 4)?),
            Class::Bits64 => (read(entry + 8, 8)?, read(entry + 32, 8)?),
        };
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        let name = head.get(start..end)?.strip_suffix(b"\0")?;
        return Some(String::from_utf8_lossy(name).into_owned());
    }
    None
}

fn number(head: &[u8], order: Order, at: usize, length: usize) -> Option<u64> {
    let bytes = head.get(at..at.checked_add(length)?)?;
    let join = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    Some(match order {
        Order::Big => bytes.iter().fold(0, join),
        Order::Little => bytes.iter().rev().fold(0, join),
    })
}
