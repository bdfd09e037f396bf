//! Copies at random, compared with a small model of BuildKit's rules.
//!
//! The model knows paths, kinds, contents and owners, and nothing of how kiln finds them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;

use super::bench::Bench;

/// Copies that are tried; `--from` a stage, where everything can be seen.
const TRIALS: u64 = 100;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Directory,
    File(String),
    Link(String),
}

type Tree = BTreeMap<String, Node>;

/// Numbers that look random and come again (splitmix64, Steele et al. 2014).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn pick<'a>(&mut self, among: &[&'a str]) -> &'a str {
        among[usize::try_from(self.below(among.len() as u64)).unwrap()]
    }

    fn tree(&mut self, directory: &str, depth: u64, tree: &mut Tree) {
        for name in ["a", "b", "c", "x.go"] {
            let path = join(directory, name);
            match self.below(7) {
                0..2 if depth < 3 => {
                    tree.insert(path.clone(), Node::Directory);
                    self.tree(&path, depth + 1, tree);
                }
                2..4 => {
                    tree.insert(path.clone(), Node::File(path));
                }
                4 => {
                    let target = self.pick(&["a", "../b", "/c", "nowhere", "b/x.go"]);
                    tree.insert(path, Node::Link(target.to_owned()));
                }
                _ => {}
            }
        }
    }

    fn path(&mut self, most: u64) -> String {
        let count = 1 + self.below(most);
        let parts = ["a", "b", "c", "x.go", "*", "?", "*.go", "a"];
        let names: Vec<&str> = (0..count).map(|_| self.pick(&parts)).collect();
        names.join("/")
    }

    fn pattern(&mut self) -> String {
        let path = self.path(3);
        match self.below(5) {
            0 => format!("**/{path}"),
            1 => format!("{path}/**"),
            _ => path,
        }
    }
}

fn join(directory: &str, name: &str) -> String {
    match directory {
        "" => name.to_owned(),
        _ => format!("{directory}/{name}"),
    }
}

/// Follows links inside the root, the last component too; none if there are too many.
fn resolve(tree: &Tree, path: &str) -> Option<String> {
    let mut rest: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
    let (mut reached, mut links) = (String::new(), 0);
    while let Some(name) = rest.pop() {
        match name.as_str() {
            "" => continue,
            ".." => {
                reached = reached
                    .rsplit_once('/')
                    .map_or("", |split| split.0)
                    .to_owned();
                continue;
            }
            _ => {}
        }
        let next = join(&reached, &name);
        let Some(Node::Link(target)) = tree.get(&next) else {
            reached = next;
            continue;
        };
        links += 1;
        if links > 40 {
            return None;
        }
        if target.starts_with('/') {
            reached.clear();
        }
        rest.extend(target.split('/').rev().map(str::to_owned));
    }
    Some(reached)
}

/// Whether a pattern without classes and escapes matches; two stars are any directories.
fn glob(pattern: &str, text: &str) -> bool {
    if let Some(rest) = pattern.strip_prefix("**") {
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        let mut ends = text.match_indices('/');
        return rest.is_empty()
            || glob(rest, text)
            || ends.any(|(end, _)| glob(rest, &text[end + 1..]));
    }
    let Some(first) = pattern.chars().next() else {
        return text.is_empty();
    };
    let rest = &pattern[first.len_utf8()..];
    match (first, text.chars().next()) {
        ('*', next) => {
            glob(rest, text) || next.is_some_and(|next| next != '/' && glob(pattern, &text[1..]))
        }
        (_, None) => false,
        ('?', Some(next)) => next != '/' && glob(rest, &text[1..]),
        (_, Some(next)) => first == next && glob(rest, &text[1..]),
    }
}

/// Whether patterns in order match a path, each directory handing down what was of interest in it.
fn in_order(patterns: &[String], path: &str) -> bool {
    let mut above = vec![false; patterns.len()];
    let mut result = false;
    let ends = path.match_indices('/').map(|(end, _)| end);
    for end in ends.chain([path.len()]) {
        result = false;
        for (above, pattern) in above.iter_mut().zip(patterns) {
            let (text, matched) = match pattern.strip_prefix('!') {
                Some(text) => (text, false),
                None => (pattern.as_str(), true),
            };
            *above |= matched != result && glob(text, &path[..end]);
            if *above {
                result = matched;
            }
        }
    }
    result
}

fn has_wildcards(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// The paths that an argument means; none if it is an error.
fn matches(tree: &Tree, argument: &str) -> Option<Vec<String>> {
    let names: Vec<&str> = argument.split('/').collect();
    let plain = names.iter().position(|name| has_wildcards(name));
    let Some(plain) = plain else {
        return Some(vec![argument.to_owned()]);
    };
    let base = resolve(tree, &names[..plain].join("/"))?;
    if !base.is_empty() && !tree.contains_key(&base) {
        return None;
    }
    // A component at a time: two stars are one here.
    let fits = |path: &str| {
        let below = path
            .strip_prefix(&base)
            .unwrap_or("")
            .trim_start_matches('/');
        let found: Vec<&str> = below.split('/').collect();
        let mut pairs = names[plain..].iter().zip(&found);
        found.len() == names.len() - plain && pairs.all(|(pattern, name)| glob(pattern, name))
    };
    let below = tree.keys().filter(|path| {
        base.is_empty()
            || path
                .strip_prefix(&base)
                .is_some_and(|rest| rest.starts_with('/'))
    });
    Some(below.filter(|path| fits(path)).cloned().collect())
}

/// What is copied.
#[derive(Debug)]
struct Copy {
    arguments: Vec<String>,
    excludes: Vec<String>,
    has_parents: bool,
    owner: Option<u32>,
}

impl Copy {
    fn at_random(chance: &mut Chance) -> Self {
        let has_parents = chance.below(2) == 0;
        let argument = |chance: &mut Chance| match (has_parents, chance.below(3)) {
            (false, _) => chance.path(3),
            (true, 0) => format!("{}/./{}", chance.path(2), chance.pattern()),
            (true, _) => chance.pattern(),
        };
        let arguments = (0..=chance.below(2)).map(|_| argument(chance)).collect();
        let excludes = (0..chance.below(3)).map(|number| match number {
            0 => chance.pattern(),
            _ => format!("!{}", chance.pattern()),
        });
        let excludes = excludes.collect();
        let owner = (chance.below(3) == 0).then_some(7);
        Self {
            arguments,
            excludes,
            has_parents,
            owner,
        }
    }

    fn text(&self) -> String {
        let mut text = String::from("COPY --from=0");
        if self.has_parents {
            text += " --parents";
        }
        for pattern in &self.excludes {
            text += &format!(" --exclude={pattern}");
        }
        if let Some(owner) = self.owner {
            text += &format!(" --chown={owner}:{owner}");
        }
        format!("{text} {} /d/", self.arguments.join(" "))
    }

    /// What comes of it; none if it is an error.
    fn of(&self, tree: &Tree) -> Option<Tree> {
        let mut made = Tree::new();
        for argument in &self.arguments {
            let (base, pattern) = match (self.has_parents, argument.split_once("/./")) {
                (false, _) => (argument.as_str(), None),
                (true, None) => ("", Some(argument.clone())),
                (true, Some((base, pattern))) => (base, Some(pattern.to_owned())),
            };
            if let Some(pattern) = &pattern
                && !has_wildcards(base)
                && !has_wildcards(pattern)
            {
                let required = join(base, pattern);
                let (directory, name) = required.rsplit_once('/').unwrap_or(("", &required));
                tree.get(&join(&resolve(tree, directory)?, name))?;
            }
            let bases = match base {
                "" => vec![String::new()],
                _ => matches(tree, base)?,
            };
            for written in bases {
                self.add(tree, &written, pattern.as_ref(), &mut made)?;
            }
        }
        Some(made)
    }

    fn add(
        &self,
        tree: &Tree,
        written: &str,
        include: Option<&String>,
        made: &mut Tree,
    ) -> Option<()> {
        let path = resolve(tree, written)?;
        let node = match path.as_str() {
            "" => &Node::Directory,
            path => tree.get(path)?,
        };
        if *node != Node::Directory {
            let name = written.rsplit('/').next().unwrap();
            return put(made, &join("d", name), node);
        }
        put(made, "d", &Node::Directory)?;
        for (below, node) in tree {
            let Some(inside) = below.strip_prefix(&path) else {
                continue;
            };
            let inside = if path.is_empty() {
                inside
            } else {
                match inside.strip_prefix('/') {
                    Some(inside) => inside,
                    None => continue,
                }
            };
            let is_in =
                include.is_none_or(|pattern| in_order(std::slice::from_ref(pattern), inside));
            if is_in && !in_order(&self.excludes, inside) {
                put(made, &join("d", inside), node)?;
            }
        }
        Some(())
    }
}

/// Puts something at a path, and directories around it.
fn put(made: &mut Tree, path: &str, node: &Node) -> Option<()> {
    if let Some((directory, _)) = path.rsplit_once('/') {
        put(made, directory, &Node::Directory)?;
    }
    let is_directory = |node: &Node| *node == Node::Directory;
    if made
        .get(path)
        .is_some_and(|before| is_directory(before) != is_directory(node))
    {
        return None;
    }
    made.insert(path.to_owned(), node.clone());
    Some(())
}

/// Describes a tree as the bench lists one, directories without owners: whether one was made or
/// copied does not show in the model.
fn lines(tree: &Tree, owner: Option<u32>) -> Vec<String> {
    let owner = owner
        .map(|owner| format!(" {owner}:{owner}"))
        .unwrap_or_default();
    let mut lines: Vec<String> = tree
        .iter()
        .map(|(path, node)| match node {
            Node::Directory => format!("{path}/ 755{owner}"),
            Node::File(content) => format!("{path} 644{owner} {content:?}"),
            Node::Link(target) => format!("{path} -> {target}{owner}"),
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn copies_at_random_come_to_what_the_rules_say() {
    let (mut built, mut failed) = (0, 0);
    for seed in 0..TRIALS {
        let mut chance = Chance(seed);
        let mut tree = Tree::new();
        chance.tree("", 0, &mut tree);
        let bench = Bench::new(&[]);
        for (path, node) in &tree {
            match node {
                Node::Directory => fs::create_dir(bench.path(path)).unwrap(),
                Node::File(content) => bench.write(path, content),
                Node::Link(target) => symlink(target, bench.path(path)).unwrap(),
            }
        }
        let copy = Copy::at_random(&mut chance);
        let expected = copy.of(&tree).map(|made| lines(&made, copy.owner));
        let text = format!("FROM scratch\nCOPY . /\nFROM scratch\n{}\n", copy.text());
        let found = bench.try_build(&text, "").map(|built| {
            let mut lines = built.lines;
            lines.sort();
            lines
        });
        match (&expected, &found) {
            (Some(expected), Ok(found)) => assert_eq!(found, expected, "{seed} {copy:?} {tree:?}"),
            (None, Err(_)) => {}
            _ => panic!("{seed} {copy:?}: expected {expected:?}, found {found:?}\n{tree:?}"),
        }
        match found {
            Ok(_) => built += 1,
            Err(_) => failed += 1,
        }
    }
    // Copies that fail say little.
    assert!(failed < 2 * built, "{built} built, {failed} failed");
}
